"""Where a model is loaded, and what is closed for it, by given numbers."""

from pathlib import Path

import pytest

from gemma4_block.contract import LocalModel
from gemma4_block.engine.footprint import Footprint
from gemma4_block.engine.pool.placement import (
    Claim,
    Close,
    Decision,
    Enter,
    Holding,
    Refuse,
    Wait,
    decide,
)
from gemma4_block.settings import Settings

CPU = "cpu"


def claim(needed: int, device: str = CPU) -> Claim:
    """Claim so much, all of it weights."""
    footprint = Footprint(
        weights=needed,
        left_in_files=0,
        read_pages=0,
        mapped=0,
        kv_cache=0,
        work=0,
        images=0,
        caches=0,
        framework=0,
    )
    return Claim(device=device, footprint=footprint, settings=Settings(device=device))


def reference(name: str) -> LocalModel:
    """Name a model."""
    return LocalModel(directory=Path(name), quantization="none")


def held(
    name: str,
    needed: int,
    *,
    taken: int | None = None,
    device: str = CPU,
    used_at: float = 0.0,
    is_idle: bool = True,
    is_changing: bool = False,
) -> Holding:
    """Hold so much of a device, of which all is taken unless it is said."""
    return Holding(
        reference=reference(name),
        device=device,
        needed=needed,
        taken=needed if taken is None else taken,
        is_idle=is_idle,
        is_changing=is_changing,
        used_at=used_at,
    )


IN_USE = {"is_idle": False}
LOADING = {"is_idle": False, "is_changing": True, "taken": 0}


@pytest.mark.parametrize(
    ("free", "holdings", "expected"),
    [
        pytest.param(10, [], Enter(claim=claim(10)), id="just enough"),
        pytest.param(None, [], Enter(claim=claim(10)), id="nobody knows what is free"),
        pytest.param(9, [], Refuse(claim=claim(10), most=9), id="never enough"),
        pytest.param(
            12, [held("a", 5, taken=2)], Close(reference=reference("a")), id="promised to another's caches"
        ),
        pytest.param(13, [held("a", 5, taken=2)], Enter(claim=claim(10)), id="enough beside the promise"),
        pytest.param(
            14,
            [held("a", 5, **LOADING)],
            Wait(claim=claim(10), left=9),
            id="two that load do not count the same bytes",
        ),
        pytest.param(15, [held("a", 5, **LOADING)], Enter(claim=claim(10)), id="room for both that load"),
        pytest.param(
            5,
            [held("a", 5, used_at=2.0), held("b", 5, used_at=1.0)],
            Close(reference=reference("b")),
            id="the one that was used least recently goes first",
        ),
        pytest.param(
            0,
            [held("a", 5, used_at=2.0), held("b", 5, used_at=1.0)],
            Close(reference=reference("b")),
            id="both have to go, one after the other",
        ),
        pytest.param(
            5,
            [held("a", 5, used_at=2.0), held("b", 5, used_at=1.0, **IN_USE)],
            Close(reference=reference("a")),
            id="one that is used stays",
        ),
        pytest.param(
            5, [held("a", 5, **IN_USE)], Wait(claim=claim(10), left=5), id="it fits once nobody uses another"
        ),
        pytest.param(
            4,
            [held("a", 5, **IN_USE)],
            Refuse(claim=claim(10), most=9),
            id="it would not even fit then",
        ),
        pytest.param(
            0,
            [held("a", 5), held("b", 5, **IN_USE)],
            Wait(claim=claim(10), left=0),
            id="nothing is closed that does not suffice",
        ),
        pytest.param(
            5,
            [held("a", 5), held("b", 4, **LOADING)],
            Wait(claim=claim(10), left=1),
            id="nothing is closed while nobody knows what a load has taken",
        ),
    ],
)
def test_a_model_gets_in_where_memory_holds_all_that_was_promised(
    free: int | None, holdings: list[Holding], expected: Decision
) -> None:
    """What others may still take is not free; what nobody uses is closed; what never fits is refused."""
    assert decide([claim(10)], {CPU: free}, holdings) == expected


GPUS = ("cuda:0", "cuda:1")


@pytest.mark.parametrize(
    ("free", "holdings", "expected"),
    [
        pytest.param((20, 30), [], Enter(claim=claim(10, "cuda:1")), id="the freest"),
        pytest.param(
            (20, 30),
            [held("a", 15, taken=0, device="cuda:1")],
            Enter(claim=claim(10, "cuda:0")),
            id="the freest without what is promised",
        ),
        pytest.param((10, 9), [], Enter(claim=claim(10, "cuda:0")), id="the only one that fits"),
        pytest.param(
            (0, 0),
            [held("a", 10, device="cuda:0", used_at=2.0), held("b", 10, device="cuda:1", used_at=1.0)],
            Close(reference=reference("b")),
            id="the one whose model was not used for longest",
        ),
        pytest.param(
            (0, 0),
            [
                held("a", 10, device="cuda:0", used_at=2.0),
                held("b", 10, device="cuda:1", used_at=1.0, **IN_USE),
            ],
            Close(reference=reference("a")),
            id="the one whose model nobody uses",
        ),
        pytest.param((6, 9), [], Refuse(claim=claim(10, "cuda:1"), most=9), id="not over both"),
        pytest.param(
            (6, 2),
            [held("b", 10, device="cuda:1", **IN_USE)],
            Wait(claim=claim(10, "cuda:1"), left=2),
            id="the one that will have room",
        ),
    ],
)
def test_models_are_spread_over_gpus(
    free: tuple[int, int], holdings: list[Holding], expected: Decision
) -> None:
    """Each is on one, that with the most free memory where it fits."""
    claims = [claim(10, device) for device in GPUS]
    assert decide(claims, dict(zip(GPUS, free, strict=True)), holdings) == expected
