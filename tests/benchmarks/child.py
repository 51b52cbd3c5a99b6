"""Engines that run in a process of their own and are asked over its stdin; see `vllm_contestant.py`."""

import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gemma4_block.contract import ImageSeqLength, RgbImage


class Child:
    """A process that answers lines of JSON, each followed by the pixels of its images.

    What is timed includes sending pixels to it, about 1 ms.

    Args:
        process: With pipes to its stdin and stdout; its first line says that it is ready.

    """

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process
        self.receive()

    def ask(
        self,
        texts: Sequence[str],
        images: Sequence[RgbImage],
        *,
        budget: ImageSeqLength,
        max_new_tokens: int,
    ) -> list[int]:
        """Ask all at once, and return how many tokens each answer took.

        Args:
            texts: The questions.
            images: One for each question, or none at all.
            budget: Visual token budget.
            max_new_tokens: How long answers are.

        """
        request = {
            "texts": list(texts),
            "shapes": [image.shape for image in images],
            "max_soft_tokens": budget,
            "max_new_tokens": max_new_tokens,
        }
        self.send(request, *(image.tobytes() for image in images))
        tokens: list[int] = self.receive()["tokens"]
        return tokens

    def send(self, request: Mapping[str, Any], *pixels: bytes) -> None:
        """Send a line, and the bytes after it."""
        assert self._process.stdin is not None
        self._process.stdin.writelines([json.dumps(request).encode(), b"\n", *pixels])
        self._process.stdin.flush()

    def receive(self) -> dict[str, Any]:
        """Return what the process says next."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"The engine ended with exit code {self._process.wait()}; see above.")
        found: dict[str, Any] = json.loads(line)
        return found


@contextmanager
def running_child(
    python: Path, worker: Path, *arguments: str | Path, threads: int, variables: Mapping[str, str]
) -> Iterator[Child]:
    """Start a worker with another Python, and end it afterwards.

    Args:
        python: Of the environment that has the engine.
        worker: The program, which imports nothing of ours.
        *arguments: Of the program.
        threads: Of the engine.
        variables: More of the environment.

    """
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1", **variables}
    process = subprocess.Popen(  # noqa: S603 - what the user named
        [python, worker, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    )
    try:
        yield Child(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait()
