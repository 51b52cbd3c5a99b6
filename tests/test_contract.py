"""What may cross between tasks and engines."""

import pytest

from gemma4_block.contract import Choices, JsonSchema
from gemma4_block.errors import ConfigurationError

SCHEMA = JsonSchema(text="{}")


@pytest.mark.parametrize(
    ("groups", "lead", "rest", "message"),
    [
        ((), "", None, "it must be groups of texts"),
        (((),), "", None, "it must be groups of texts"),
        ((("a", ""),), "", None, "groups has ''"),
        (
            (("say a", "b"),),
            "say ",
            None,
            "groups has 'b'; each text must begin with the lead, 'say ', and go on",
        ),
        ((("say a", "say "),), "say ", None, "groups has 'say '"),
        ((("a", "b"), ("a",)), "", 1, "rest is 1; every group must have an alternative there"),
        ((("a", "b"),), "", -1, "rest is -1"),
    ],
)
def test_choices_that_leave_nothing_to_choose_are_refused(
    groups: tuple[tuple[str, ...], ...], lead: str, rest: int | None, message: str
) -> None:
    """The reason names what was given."""
    with pytest.raises(ConfigurationError, match=message):
        Choices(groups=groups, schema=SCHEMA, lead=lead, rest=rest)
