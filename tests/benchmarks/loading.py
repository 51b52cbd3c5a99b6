"""W6: from nothing to the first answer: memory and time, in a fresh process for each engine.

    python -m tests.benchmarks.loading ours CHECKPOINT 70

Memory is what the kernel counts as resident. Pages of a mapped file of weights count once they are touched,
which may be as late as in the first answer, although the kernel could drop them again.
"""

import importlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from gemma4_block.contract import ImageSeqLength, check_image_seq_length
from tests.benchmarks.machine import read_memory
from tests.benchmarks.reports import Goal, Report, Turns

_ROOT = Path(__file__).parents[2]
LIBRARIES = (
    "inference_models.models.gemma4.gemma4_hf",
    # transformers imports these when it loads the first Gemma 4.
    "transformers.models.gemma4.image_processing_gemma4",
    "transformers.models.gemma4.modeling_gemma4",
    "transformers.models.gemma4.processing_gemma4",
)
_PIECE_BYTES = 2**24
_GB = 1e9


def time_loading(directory: Path, budget: ImageSeqLength, turns: Turns, *, engines: Sequence[str]) -> Report:
    """W6: memory above that of the imported libraries, and the time of loading beside that of reading.

    The files of weights are in the page cache all the time. The floor is the time of reading them.
    """
    found: dict[str, list[dict[str, float]]] = {name: [] for name in engines}
    for _ in turns.numbers():
        for name in engines:
            found[name].append(_run_child(name, directory, budget))
    medians = {
        name: {figure: statistics.median(one[figure] for one in runs) for figure in runs[0]}
        for name, runs in found.items()
    }
    ours = medians["ours"]
    limit_gb = 1.15 * ours["weights_gb"] + 0.3
    return Report(
        row="W6",
        budget=budget,
        times_s={name: [one["load_s"] for one in runs] for name, runs in found.items()},
        goals=[
            Goal(name="GB above the libraries at the peak", value=ours["answer_peak_gb"], at_most=limit_gb),
            Goal(name="load / read", value=ours["load_s"] / ours["read_s"], at_most=1.3),
        ],
        floor_s=ours["read_s"],
        figures={f"{name}_{figure}": value for name, one in medians.items() for figure, value in one.items()},
    )


def measure(name: str, directory: Path, budget: ImageSeqLength) -> dict[str, float]:
    """Import, read, load and answer in this process, which has done none of that before.

    Returns:
        Seconds of reading the files, of loading, and of the first answer; GB of the weight files, of what the
        libraries take, and above that at the peak of loading, at the peak until the first answer, and
        after it without what is mapped from files.

    """
    from tests.benchmarks.contestants import MAKERS
    from tests.benchmarks.workloads import one_question

    for library in LIBRARIES:
        importlib.import_module(library)
    step = one_question(0)
    files = list(directory.glob("*.safetensors"))
    # The first time brings them into the page cache.
    read_s = [_time_reading(files) for _ in range(3)][1:]
    libraries, anonymous = _memory_gb("VmRSS"), _memory_gb("RssAnon")
    started = time.perf_counter()
    engine = MAKERS[name](directory)
    loaded = time.perf_counter()
    load_peak = _memory_gb("VmHWM")
    engine.ask(step, budget)
    answered = time.perf_counter()
    return {
        "read_s": min(read_s),
        "load_s": loaded - started,
        "first_answer_s": answered - loaded,
        "weights_gb": sum(path.stat().st_size for path in files) / _GB,
        "libraries_gb": libraries,
        "load_peak_gb": load_peak - libraries,
        "answer_peak_gb": _memory_gb("VmHWM") - libraries,
        "unmapped_after_gb": _memory_gb("RssAnon") - anonymous,
    }


def _run_child(name: str, directory: Path, budget: ImageSeqLength) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.benchmarks.loading", name, str(directory), str(budget)]
    said = subprocess.run(command, cwd=_ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout  # noqa: S603
    return cast("dict[str, float]", json.loads(said.splitlines()[-1]))


def _time_reading(files: Sequence[Path]) -> float:
    piece = bytearray(_PIECE_BYTES)
    started = time.perf_counter()
    for path in files:
        with path.open("rb", buffering=0) as file:
            while file.readinto(piece):
                pass
    return time.perf_counter() - started


def _memory_gb(field: str) -> float:
    return read_memory()[field] / _GB


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], Path(sys.argv[2]), check_image_seq_length(int(sys.argv[3])))))  # noqa: T201
