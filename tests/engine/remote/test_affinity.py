"""What a router in front of several servers is told about the images of a request."""

import pytest

from gemma4_block.contract import Choices, GenerationConfig, JsonSchema, Prompt
from gemma4_block.engine.remote.affinity import name_images
from tests.engine.remote.conftest import Connect
from tests.engine.remote.fake_server import FakeServer
from tests.engine.remote.test_images import draw

FRAME, OTHER = draw(40, 30), draw(50, 30)
CHOICES = Choices(groups=(("red", "blue"),), schema=JsonSchema(text='{"enum": ["red", "blue"]}'))


def test_questions_about_the_same_images_have_the_same_name(server: FakeServer, connect_to: Connect) -> None:
    """Whatever is asked, in whichever call; other images, more of them or none have another."""
    engine = connect_to(server)
    seen = len(server.headers)
    asked = (
        [Prompt(text="a", images=(FRAME,)), Prompt(text="b", images=(FRAME.copy(),), system="Be brief.")],
        [Prompt(text="c", images=(FRAME,), constraint=CHOICES)],
    )
    for prompts in asked:
        engine.answer(prompts, GenerationConfig())
    same = {headers.get("x-session-id") for headers in server.headers[seen:]}

    # None is of the small requests that ask how a class is written.
    assert len(same - {None}) == 1
    for images in ((OTHER,), (FRAME, OTHER), (OTHER, FRAME)):
        engine.answer([Prompt(text="a", images=images)], GenerationConfig())
        assert server.headers[-1]["x-session-id"] not in same
        same.add(server.headers[-1]["x-session-id"])
    engine.answer([Prompt(text="a")], GenerationConfig())
    assert "x-session-id" not in server.headers[-1]


@pytest.mark.parametrize(
    ("images", "others"),
    [(("ab", "c"), ("a", "bc")), (("a", "b"), ("b", "a")), (("a",), ("a", "a"))],
    ids=["cut elsewhere", "in another order", "twice"],
)
def test_other_images_have_another_name(images: tuple[str, ...], others: tuple[str, ...]) -> None:
    """Also where they add up to the same bytes."""
    assert name_images(images) != name_images(others)
