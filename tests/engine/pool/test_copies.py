"""What several processes cost."""

import logging
import multiprocessing

import pytest

from gemma4_block.engine.pool.copies import describe_copies


@pytest.mark.parametrize(
    ("environment", "is_child", "words"),
    [
        pytest.param({}, False, None, id="one process"),
        pytest.param({"NUM_WORKERS": "1"}, False, None, id="one worker"),
        pytest.param({"NUM_WORKERS": "many"}, False, None, id="the host will say that it is no number"),
        pytest.param({"NUM_WORKERS": "4"}, False, "NUM_WORKERS is 4: each of these", id="workers"),
        pytest.param({"NUM_WORKERS": "4"}, True, "4 times the memory in all", id="started workers"),
        pytest.param({}, True, "was started by another, as those of stream pipelines", id="a pipeline"),
    ],
)
def test_processes_that_do_not_share_a_model_are_told(
    environment: dict[str, str], words: str | None, *, is_child: bool
) -> None:
    """Each loads a whole copy; where there is one process, nothing is said."""
    said = describe_copies(environment, is_child=is_child)
    assert said is None if words is None else said is not None and words in said


def _start(messages: "multiprocessing.Queue[str]") -> None:
    from gemma4_block.engine.pool import get_engine_pool

    class _Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.put(record.getMessage())

    logging.getLogger("gemma4_block").addHandler(_Handler())
    get_engine_pool()
    messages.put("started")


def test_a_child_process_says_at_its_start_what_it_costs() -> None:
    """When its pool is made, before any model is loaded."""
    context = multiprocessing.get_context("spawn")
    messages: multiprocessing.Queue[str] = context.Queue()
    child = context.Process(target=_start, args=(messages,))
    child.start()
    first = messages.get(timeout=60)
    child.join(60)
    assert "loads a whole copy of every model" in first
