"""Fetch models that requests name, where the operator allows it, each once however many ask."""

import atexit
import logging
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import TIMEOUT_MAX, Event, Lock, Thread
from typing import Final

from gemma4_block.errors import EngineError, EngineLoadingError

# The host sets them for all of its process where it is to stay offline itself.
_OFFLINE_VARIABLES: Final = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
# The hub is asked anew no sooner after it gave nothing. Our choice.
_PAUSE_S: Final = 60.0

_LOGGER: Final = logging.getLogger(__name__)


@dataclass(kw_only=True, slots=True)
class _Download:
    """One that is under way, or has ended.

    Attributes:
        began: By `time.monotonic`.
        has_ended: Set at the end.
        failure: Why nothing came; empty where all did.
        ended: By `time.monotonic`.

    """

    began: float
    has_ended: Event = field(default_factory=Event)
    failure: str = ""
    ended: float = 0.0


class Downloads:
    """Fetches models in processes of their own, which a program that ends does not wait for.

    Args:
        command: The program that fetches, given a model's id as its last argument.
        pause_s: For how long after a failure nothing is tried.

    """

    def __init__(
        self,
        command: Sequence[str] = (sys.executable, "-m", "gemma4_block", "pull"),
        *,
        pause_s: float = _PAUSE_S,
    ) -> None:
        self._command = command
        self._pause_s = pause_s
        self._downloads: dict[str, _Download] = {}
        self._lock = Lock()

    def is_under_way(self, model_id: str) -> bool:
        """Say whether a model is being fetched."""
        with self._lock:
            download = self._downloads.get(model_id)
            return download is not None and not download.has_ended.is_set()

    def fetch(self, model_id: str, *, patience_s: float) -> None:
        """Wait until a model is fetched; the first who asks has it begun.

        Args:
            model_id: Of a variant.
            patience_s: How long to wait; 0 for any time. Afterwards it goes on.

        Raises:
            EngineLoadingError: It takes longer.
            EngineError: The hub does not give it.

        """
        with self._lock:
            download = self._downloads.get(model_id)
            if download is None or self._may_try_again(download):
                download = self._downloads[model_id] = _Download(began=time.monotonic())
                work = (model_id, download)
                Thread(target=self._run, args=work, name="gemma4-block-download", daemon=True).start()
        if not download.has_ended.wait(TIMEOUT_MAX if patience_s == 0 else patience_s):
            seconds = time.monotonic() - download.began
            raise EngineLoadingError(
                f"{model_id} has been downloading for {seconds:.0f} s. Ask again in a while."
            )
        if download.failure:
            raise EngineError(f"{model_id} was not downloaded: {download.failure}")

    def _may_try_again(self, download: _Download) -> bool:
        return download.has_ended.is_set() and time.monotonic() - download.ended >= self._pause_s

    def _run(self, model_id: str, download: _Download) -> None:
        _LOGGER.info("Downloading %s.", model_id)
        try:
            download.failure = _fetch([*self._command, model_id])
        except OSError as error:
            download.failure = str(error)
        download.ended = time.monotonic()
        seconds = download.ended - download.began
        if download.failure:
            _LOGGER.warning("%s was not downloaded, in %.0f s: %s", model_id, seconds, download.failure)
        else:
            _LOGGER.info("Downloaded %s in %.0f s.", model_id, seconds)
        download.has_ended.set()


def _fetch(command: list[str]) -> str:
    """Run a program to its end, and return the last line of what went wrong; empty where nothing did."""
    environment = {name: value for name, value in os.environ.items() if name not in _OFFLINE_VARIABLES}
    with subprocess.Popen(  # noqa: S603 - our own program
        command,
        env={**environment, "HF_HUB_DISABLE_PROGRESS_BARS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        atexit.register(process.kill)
        _, said = process.communicate()
        atexit.unregister(process.kill)
    if process.returncode == 0:
        return ""
    lines = said.strip().splitlines()
    return lines[-1] if lines else f"the program ended with code {process.returncode}."


DOWNLOADS: Final = Downloads()
"""Of this process."""
