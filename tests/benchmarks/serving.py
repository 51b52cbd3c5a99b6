"""W4: eight requests at once to the real server, beside engines behind their locks in this process."""

import base64
import json
import os
import re
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2

from gemma4_block.contract import ImageSeqLength
from tests.benchmarks.contestants import dtype_name
from tests.benchmarks.reports import Report, ratio_goals
from tests.benchmarks.rows import Bench, check_counts
from tests.benchmarks.workloads import NEW_TOKENS, Step, many_requests, one_question, write_workflow

_ROOT = Path(__file__).parents[2]
_START_S = 300
_WARM_UP_SEED = 10_000_000


def time_requests(bench: Bench, budget: ImageSeqLength, directory: Path, *, threads: int) -> Report:
    """W4: from eight threads; what is compared are the time until all have their answer, and the mean.

    The engines in this process are spared HTTP.
    """
    walls: dict[str, list[float]] = {}
    means: dict[str, list[float]] = {}
    with running_server(directory, threads=threads) as url:

        def ask_server(step: Step) -> list[int]:
            return _post(url, write_request(step, budget, model_version=str(directory)))

        askers: dict[str, Callable[[Step], list[int]]] = {"ours": ask_server}
        for name, engine in bench.engines.items():
            # What ours would do without HTTP is no row of the table.
            if name != "ours":
                askers[name] = partial(engine.ask, budget=budget)
        ask_server(one_question(_WARM_UP_SEED))
        for repeat in bench.turns.numbers():
            steps = many_requests(repeat)
            for name, ask in askers.items():
                latencies = time_at_once(ask, steps)
                walls.setdefault(name, []).append(max(latencies))
                means.setdefault(name, []).append(statistics.mean(latencies))
    together = [pair for step in many_requests(0) for pair in step]
    return Report(
        row="W4",
        budget=budget,
        times_s=walls,
        goals=[
            *ratio_goals(walls, {"peer": 1.5}, what="seconds until all are answered"),
            *ratio_goals(means, {"peer": 1.0}, what="mean latency"),
        ],
        floor_s=bench.floors.of_step(together, budget).total_s,
        figures={f"{name}_mean_latency_s": statistics.median(found) for name, found in means.items()},
    )


def time_at_once(ask: Callable[[Step], list[int]], steps: Sequence[Step]) -> list[float]:
    """Ask from as many threads, and return how long each waited for its answer."""
    started = time.perf_counter()

    def wait(step: Step) -> float:
        check_counts(ask(step))
        return time.perf_counter() - started

    with ThreadPoolExecutor(len(steps)) as threads:
        return list(threads.map(wait, steps))


@contextmanager
def running_server(directory: Path, *, threads: int) -> Iterator[str]:
    """Start `gemma4-block serve` on a free port, allowed to use a checkpoint, and yield its URL."""
    with TemporaryDirectory() as folder:
        log = Path(folder, "log.txt")
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": str(threads),
            "GEMMA4_BLOCK_MODEL_ROOTS": str(directory.parent),
            "GEMMA4_BLOCK_DTYPE": dtype_name(directory),
            "GEMMA4_BLOCK_DEVICE": "cpu",
            "MODEL_CACHE_DIR": folder,
        }
        with log.open("wb") as output:
            server = subprocess.Popen(
                [sys.executable, "-m", "gemma4_block", "serve", "--port", "0"],
                cwd=_ROOT,
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            yield _wait_for_url(server, log)
        finally:
            server.terminate()
            server.wait()


def write_request(step: Step, budget: ImageSeqLength, *, model_version: str) -> dict[str, object]:
    """Write the body of a request that sends the one image of a step with a workflow of our block."""
    ((image, text),) = step
    _, png = cv2.imencode(".png", image[..., ::-1])
    return {
        "specification": write_workflow(text, budget, model_version=model_version, max_new_tokens=NEW_TOKENS),
        "inputs": {"image": {"type": "base64", "value": base64.b64encode(png.tobytes()).decode()}},
    }


def _post(url: str, body: dict[str, object]) -> list[int]:
    """Send a request, and return how many tokens each answer took."""
    request = urllib.request.Request(  # noqa: S310 - the server that was started above
        f"{url}/workflows/run", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as response:  # noqa: S310
        return [row["tokens"] for row in json.load(response)["outputs"]]


def _wait_for_url(server: "subprocess.Popen[bytes]", log: Path) -> str:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        said = log.read_text(encoding="utf-8", errors="replace")
        if found := re.search(r"Ready at (http\S+)\.", said):
            return found[1]
        if server.poll() is not None:
            raise RuntimeError(f"The server ended with exit code {server.returncode}:\n{said}")
        time.sleep(0.1)
    raise RuntimeError(f"The server was not ready within {_START_S} s:\n{log.read_text(encoding='utf-8')}")
