"""A sample of the validity run: whatever is asked, an answer that ended is valid."""

from pathlib import Path

from rich.console import Console

from gemma4_block.demo.evaluation import CHECKPOINT_DIRECTORY
from gemma4_block.engine.pool.factory import load_engine
from gemma4_block.settings import Settings
from tests.benchmarks.validity import find_problem, judge_all
from tests.miniatures import build_miniature


def test_every_answer_that_ended_is_valid(tmp_path: Path) -> None:
    """Random questions and schemas, to the demo and to random weights; plain, thinking and by chance."""
    settings = Settings(max_batch_size=32, device="cpu")
    directories = {"demo": CHECKPOINT_DIRECTORY, "random": build_miniature("e2b", tmp_path / "e2b")}
    engines = {
        name: load_engine(directory, quantization="none", settings=settings)
        for name, directory in directories.items()
    }
    found, problems = judge_all(engines, answers=320, seed=7, console=Console(quiet=True))

    assert problems == []
    for one in found:
        assert one.answers == 160
        assert one.valid + one.cut + one.refused == one.answers
        assert one.valid > 120


def test_the_judge_sees_what_is_invalid() -> None:
    """It is other code than what makes the answers."""
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}

    assert find_problem('{"a": 1}', schema) is None
    assert find_problem('{"a": "1"}', schema) is not None
    assert find_problem('{"a": 1', schema) is not None
