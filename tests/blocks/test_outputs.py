"""From results and errors to the rows that the next steps read."""

# The host's settings must be installed before roboflow_workflows freezes its own.
import inference.core  # noqa: F401  # isort: split

from gemma4_block.blocks.outputs import answer_row, describe_outputs, refused_row
from gemma4_block.contract import Answer
from gemma4_block.errors import AnswerError, PromptError
from gemma4_block.tasks import Result
from gemma4_block.tasks.task import FixedTask

ANSWER = Answer(
    text="neither", thinking="", finish_reason="length", input_tokens=9, output_tokens=2, image_tokens=4
)


class Unreadable(FixedTask):
    """A task that understands nothing."""

    def read(self, answer: Answer) -> Result:
        """Refuse the answer."""
        raise AnswerError("It is neither yes nor no.", answer=answer.text, task="caption")


TASK = Unreadable(name="caption", title="", description="", image_seq_length=70, wording="Yes or no?")


def test_an_unreadable_answer_is_an_error_that_keeps_its_text_and_counts() -> None:
    """Who looks for the reason finds what the model said, and what it cost."""
    row = answer_row(TASK, ANSWER, "gemma-4-demo")
    assert row.pop("inference_id")
    assert row == {
        "output": "neither",
        "thinking": "",
        "finish_reason": "length",
        "input_tokens": 9,
        "output_tokens": 2,
        "image_tokens": 4,
        "error_status": True,
        "error_message": "It is neither yes nor no.",
        "model_id": "gemma-4-demo",
    }


def test_rows_hold_exactly_the_declared_outputs() -> None:
    """The host refuses a row that lacks an output or has another one."""
    declared = {output.name for output in describe_outputs()}
    assert set(answer_row(TASK, ANSWER, "gemma-4-demo")) == declared
    assert set(refused_row(PromptError("no"), "gemma-4-demo")) == declared


def test_the_answer_goes_to_parsers_and_to_text_steps() -> None:
    """Parsers take language_model_output only, sinks and displays take string only."""
    kinds = {output.name: {kind.name for kind in output.kind} for output in describe_outputs()}
    assert kinds["output"] == {"string", "language_model_output"}
