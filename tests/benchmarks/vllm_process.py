"""vLLM on the CPU as a contestant; it runs in a process and an environment of its own."""

import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

from gemma4_block.contract import ImageSeqLength
from tests.benchmarks.contestants import Contestant
from tests.benchmarks.workloads import NEW_TOKENS, Step

_WORKER = Path(__file__).with_name("vllm_contestant.py")
_KEY_VALUE_GB = 2


class Vllm(Contestant):
    """A child that runs `vllm_contestant.py`. What is timed includes sending pixels to it, about 1 ms."""

    def __init__(self, child: "subprocess.Popen[bytes]") -> None:
        self._child = child
        self._receive()

    def ask(self, step: Step, budget: ImageSeqLength, max_new_tokens: int = NEW_TOKENS) -> list[int]:
        """Ask all at once."""
        request = {
            "texts": [text for _, text in step],
            "shapes": [image.shape for image, _ in step],
            "max_soft_tokens": budget,
            "max_new_tokens": max_new_tokens,
        }
        self._send(request, *(image.tobytes() for image, _ in step))
        tokens: list[int] = self._receive()["tokens"]
        return tokens

    def ask_at_once(self, steps: Sequence[Step], budget: ImageSeqLength) -> list[int]:
        """Ask all of them in one call, which is the most that its scheduler can hope for."""
        return self.ask(list(chain.from_iterable(steps)), budget)

    def forget(self) -> None:
        """Empty its caches of images and prefixes."""
        self._send({"forget": True})
        self._receive()

    def _send(self, request: dict[str, Any], *pixels: bytes) -> None:
        assert self._child.stdin is not None
        self._child.stdin.writelines([json.dumps(request).encode(), b"\n", *pixels])
        self._child.stdin.flush()

    def _receive(self) -> dict[str, Any]:
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        if not line:
            raise RuntimeError(f"vLLM ended with exit code {self._child.wait()}; see above.")
        found: dict[str, Any] = json.loads(line)
        return found


@contextmanager
def running_vllm(python: Path, directory: Path, *, dtype: str, threads: int) -> Iterator[Vllm]:
    """Start vLLM on a checkpoint with another Python, and end it afterwards."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        # Bound to a core, it would wait for whoever else is there.
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_CPU_KVCACHE_SPACE": str(_KEY_VALUE_GB),
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
    }
    child = subprocess.Popen(  # noqa: S603 - what the user named
        [python, _WORKER, directory, dtype], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    )
    try:
        yield Vllm(child)
    finally:
        assert child.stdin is not None
        child.stdin.close()
        child.wait()
