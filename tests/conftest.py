"""What every test shares: the host's environment, and one server for all tests over HTTP."""

import atexit
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from gemma4_block.hosting import prepare_host_environment

# The host reads the environment once, at its first import. Nobody's own cache is touched, and idle
# threads leave the cores alone.
_CACHE = tempfile.TemporaryDirectory(prefix="gemma4-block-tests-")
atexit.register(_CACHE.cleanup)
os.environ["MODEL_CACHE_DIR"] = str(Path(_CACHE.name, "models"))
os.environ.setdefault("OMP_NUM_THREADS", "1")
prepare_host_environment(allow_local_packages=True, allow_file_sinks=True)

import inference.core  # noqa: E402, F401  # isort: split
import pytest  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi.testclient import TestClient


@pytest.fixture(scope="session")
def client() -> "Iterator[TestClient]":
    """The stock inference server with this plugin, in this process and without a port."""
    from fastapi.testclient import TestClient

    from gemma4_block.engine.pool import get_engine_pool
    from gemma4_block.hosting import make_app

    with TestClient(make_app(get_engine_pool())) as started:
        yield started


@pytest.fixture
def with_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the processor one that has bfloat16, whatever it is."""
    _set_features(monkeypatch, {"avx2": True, "avx512_bf16": True})


@pytest.fixture
def without_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the processor one that has no bfloat16, whatever it is."""
    _set_features(monkeypatch, {"avx2": True, "avx512_bf16": False})


def _set_features(monkeypatch: pytest.MonkeyPatch, features: dict[str, bool]) -> None:
    import torch

    # Before torch 2.11 there is no such function.
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: features, raising=False)
