"""vLLM on the CPU as a contestant; it runs in a process and an environment of its own."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

from gemma4_block.contract import ImageSeqLength
from tests.benchmarks.child import Child, running_child
from tests.benchmarks.contestants import Contestant
from tests.benchmarks.workloads import NEW_TOKENS, Step

_WORKER = Path(__file__).with_name("vllm_contestant.py")
_KEY_VALUE_GB = 2


class Vllm(Contestant):
    """A child that runs `vllm_contestant.py`."""

    def __init__(self, child: Child) -> None:
        self._child = child

    def ask(self, step: Step, budget: ImageSeqLength, max_new_tokens: int = NEW_TOKENS) -> list[int]:
        """Ask all at once."""
        images, texts = [image for image, _ in step], [text for _, text in step]
        return self._child.ask(texts, images, budget=budget, max_new_tokens=max_new_tokens)

    def ask_at_once(self, steps: Sequence[Step], budget: ImageSeqLength) -> list[int]:
        """Ask all of them in one call, which is the most that its scheduler can hope for."""
        return self.ask(list(chain.from_iterable(steps)), budget)

    def forget(self) -> None:
        """Empty its caches of images and prefixes."""
        self._child.send({"forget": True})
        self._child.receive()


@contextmanager
def running_vllm(python: Path, directory: Path, *, dtype: str, threads: int) -> Iterator[Vllm]:
    """Start vLLM on a checkpoint with another Python, and end it afterwards."""
    variables = {
        # Bound to a core, it would wait for whoever else is there.
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_CPU_KVCACHE_SPACE": str(_KEY_VALUE_GB),
        "VLLM_NO_USAGE_STATS": "1",
    }
    with running_child(python, _WORKER, directory, dtype, threads=threads, variables=variables) as child:
        yield Vllm(child)
