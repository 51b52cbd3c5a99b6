"""A server of vLLM that is one of several, can be killed, and says what it did."""

import os
import re
import signal
import urllib.request
from pathlib import Path
from typing import Literal

import psutil

import gemma4_block.demo
from tests.parity.vllm_server import find_port, start_vllm, wait_until_healthy

DEMO_CHECKPOINT = Path(gemma4_block.demo.__file__).parent / "checkpoint"

Part = Literal["machine", "engine"]
"""What of a server is killed."""


class Replica:
    """A server of the embedded checkpoint on a port of its own.

    Args:
        log: Gets all that it says.

    """

    def __init__(self, log: Path) -> None:
        self.port = find_port()
        self._log = log
        self._child = start_vllm(DEMO_CHECKPOINT, self._log, self.port)

    @property
    def address(self) -> str:
        """Its host and port."""
        return f"127.0.0.1:{self.port}"

    def wait(self) -> None:
        """Return when it is ready."""
        wait_until_healthy(self._child, self.port, self._log)

    def kill(self, part: Part) -> None:
        """Kill all of its processes, or the one that computes; the others then notice, answer 500 and end."""
        if part == "machine":
            os.killpg(self._child.pid, signal.SIGKILL)
            return
        # It holds the weights, so that it is the one that a machine without memory kills.
        processes = psutil.Process(self._child.pid).children(recursive=True)
        max(processes, key=lambda process: process.memory_info().rss).kill()

    def start_again(self) -> None:
        """Start it anew after it was killed, and return when it is ready."""
        self._child.wait(60)
        self._child = start_vllm(DEMO_CHECKPOINT, self._log, self.port)
        self.wait()

    def end(self) -> None:
        """End it in order."""
        self._child.terminate()
        self._child.wait(60)

    def count_answers(self) -> int:
        """Return how many requests it has answered to their end since it was started."""
        return sum(self._read(r'request_success_total\{[^}]*finished_reason="(?:stop|length)"[^}]*\}'))

    def count_prompt_tokens(self) -> tuple[int, int]:
        """Return how many tokens of prompts it was asked about, and how many it knew from earlier prompts."""
        (asked,) = self._read(r"prefix_cache_queries_total\{[^}]*\}")
        (known,) = self._read(r"prefix_cache_hits_total\{[^}]*\}")
        return asked, known

    def _read(self, pattern: str) -> list[int]:
        with urllib.request.urlopen(f"http://{self.address}/metrics", timeout=60) as page:
            text = page.read().decode()
        found = re.findall(rf"^vllm:{pattern} (\S+)$", text, re.MULTILINE)
        assert found, pattern
        return [round(float(number)) for number in found]
