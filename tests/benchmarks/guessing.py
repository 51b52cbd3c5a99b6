"""Time what guessing ahead costs and saves: longer passes, and answers that repeat the last one or nothing.

    python -m tests.benchmarks.guessing

The checkpoint has E2B's widths, 7 text layers and random weights. One thread. First a line of JSON for each
number of answers with the milliseconds of a pass that reads so many tokens of each. Then one for each with
the seconds of decoding and the passes, with guesses and without: of questions that are asked for the first
time, and of the same questions again.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from transformers import AutoTokenizer

from gemma4_block.contract import Answer, GenerationConfig, LocalModel, Prompt
from gemma4_block.engine.loading import LoadOptions, load_checkpoint
from gemma4_block.engine.local import LocalEngine
from gemma4_block.engine.pool import load_local
from gemma4_block.engine.runner import ForwardPasses
from gemma4_block.settings import Settings
from tests.benchmarks.endless import build_endless

_WIDTHS = (1, 2, 4, 8)
_CONTEXT = 120
_NEW_TOKENS = 32
_MOST_GUESSED = 7
_TEXT = "A conveyor belt carries bottles past a camera. Say in order what a worker should do with each."


def time_passes(directory: Path, dtype: str, rows: int, turns: int) -> Mapping[int, float]:
    """Return the milliseconds of a pass over so many tokens of each row, the least of all turns."""
    checkpoint = load_checkpoint(directory, LoadOptions(device=torch.device("cpu"), dtype=dtype))  # type: ignore[arg-type]
    tokens = checkpoint.special_tokens
    passes = ForwardPasses(
        checkpoint.model, pad_id=tokens.pad_id, image_id=tokens.image_id, adapters=checkpoint.adapters
    )
    known = len(AutoTokenizer.from_pretrained(directory))
    text = torch.randint(known // 2, known, (_CONTEXT,), generator=torch.Generator().manual_seed(0)).tolist()
    times: dict[int, list[float]] = {width: [] for width in _WIDTHS}
    with torch.inference_mode():
        batch, _, _ = passes.prefill([text] * rows, [], prefix_lengths=[0] * rows)
        # The first turn prepares the libraries for each shape.
        for _ in range(turns + 1):
            for width, found in times.items():
                started = time.perf_counter()
                passes.read(batch, [text[:width]] * rows, last=width)
                found.append(1000 * (time.perf_counter() - started))
    return {width: round(min(found[1:]), 1) for width, found in times.items()}


def time_answers(engines: Mapping[str, LocalEngine], rows: int, turns: int) -> Mapping[str, object]:
    """Return seconds and passes of decoding, at first and again, by engine, and whether texts are equal."""
    prompts = [Prompt(text=f"Case {row}. {_TEXT}") for row in range(rows)]
    found: dict[str, object] = {}
    texts = []
    for name, engine in engines.items():
        seconds, passes = [], []
        for _ in range(turns + 1):
            answers, profile = engine.profile(prompts, GenerationConfig(max_new_tokens=_NEW_TOKENS))
            seconds.append(profile.stages["decode"].seconds)
            passes.append(profile.stages["decode"].passes)
            texts.append([answer.text for answer in answers if isinstance(answer, Answer)])
        found[name] = {
            "first": [round(seconds[0], 2), passes[0]],
            "again": [round(statistics.median(seconds[1:]), 2), passes[-1]],
        }
    return {**found, "same_texts": all(text == texts[0] for text in texts)}


def _load(directory: Path, dtype: str, guessed: int) -> LocalEngine:
    settings = Settings(device="cpu", dtype=dtype, guessed_tokens=guessed, max_batch_size=8)  # type: ignore[arg-type]
    engine = load_local(LocalModel(directory=directory, quantization="none"), settings)
    assert isinstance(engine, LocalEngine)
    return engine


def main(arguments: Sequence[str] | None = None) -> None:
    """Build the checkpoint and print the lines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--rows", nargs="+", type=int, default=[1, 4, 8])
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument(
        "--directory", type=Path, help="a checkpoint; without it one is built and removed again"
    )
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        directory = options.directory
        if directory is None:
            directory = build_endless(
                "e2b-width", Path(folder) / "e2b-width", dtype=getattr(torch, options.dtype)
            )
        for rows in options.rows:
            ms = time_passes(directory, options.dtype, rows, options.turns)
            print(json.dumps({"dtype": options.dtype, "rows": rows, "ms": ms}), flush=True)  # noqa: T201 - a command
        engines = {
            "without": _load(directory, options.dtype, 0),
            "guessing": _load(directory, options.dtype, _MOST_GUESSED),
        }
        for rows in options.rows:
            line = {"dtype": options.dtype, "rows": rows, **time_answers(engines, rows, options.turns)}
            print(json.dumps(line), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
