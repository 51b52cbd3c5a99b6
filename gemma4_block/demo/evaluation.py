"""Judge a demo checkpoint on drawn scenes that its training never saw.

Run `python -m gemma4_block.demo.evaluation`. It prints every measured share with the least that the shipped
checkpoint must reach, where the model is weak, and all of it once more as one line of JSON.
"""

import argparse
import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from gemma4_block.contract import Engine
from gemma4_block.demo import judges, task_judges
from gemma4_block.demo.cases import (
    draw_worn,
)
from gemma4_block.demo.scenes import (
    draw_crop,
    draw_number,
    draw_scene,
)
from gemma4_block.demo.scoring import (
    Row,
)
from gemma4_block.engine.pool.factory import load_engine
from gemma4_block.settings import Settings

CHECKPOINT_DIRECTORY = Path(__file__).parent / "checkpoint"
SAVED_REPORT = Path(__file__).parent / "evaluation.json"
"""What this command found of the shipped checkpoint; README shows it."""

# Root of the judged scenes; training draws from (20261124, step).
HELD_OUT_SEED = 20261125
_BATCH_SIZE = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What an evaluation found.

    Attributes:
        rows: The measures, with targets where there are demands.
        weak_spots: The same answers cut finer, to see what to train more.
        duration_s: Wall-clock time of drawing, asking and scoring.

    """

    rows: tuple[Row, ...]
    weak_spots: tuple[Row, ...]
    duration_s: float


def evaluate(engine: Engine, *, scene_count: int = 300, seed: int = HELD_OUT_SEED) -> Report:
    """Ask about held-out scenes, crops and numbers, each kind `scene_count` times, and score the answers.

    Args:
        engine: Asked in batches, always for the likeliest answer.
        scene_count: How many scenes, crops and numbers each.
        seed: Root of all draws; the same seed asks the same questions about the same scenes.

    Returns:
        The report; equal for equal answers but for its duration.

    """
    started = time.monotonic()
    scenes = draw_worn(seed, 0, draw_scene, scene_count)
    crops = draw_worn(seed, 1, draw_crop, scene_count)
    numbers = draw_worn(seed, 2, draw_number, scene_count)
    parts = (
        judges.judge_counts_and_descriptions(engine, scenes, np.random.default_rng((seed, 3))),
        judges.judge_crops(engine, crops, np.random.default_rng((seed, 4))),
        judges.judge_numbers(engine, numbers),
        judges.judge_boxes(engine, scenes, np.random.default_rng((seed, 5))),
        judges.judge_classes(engine, scenes, np.random.default_rng((seed, 6))),
        judges.judge_untrained_questions(engine, scenes),
        task_judges.judge_tasks(engine, scenes, crops, np.random.default_rng((seed, 7))),
    )
    return Report(
        rows=tuple(row for rows, _ in parts for row in rows),
        weak_spots=tuple(row for _, weak_spots in parts for row in weak_spots),
        duration_s=time.monotonic() - started,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Judge a checkpoint directory and print what was found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT_DIRECTORY)
    parser.add_argument("--scenes", type=int, default=300)
    parser.add_argument("--seed", type=int, default=HELD_OUT_SEED)
    # Never `auto`, which is another precision on another machine.
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--save", type=Path, help="also write the line of JSON here")
    options = parser.parse_args(arguments)
    settings = Settings(max_batch_size=_BATCH_SIZE, dtype=options.dtype, device="cpu")
    engine = load_engine(options.checkpoint, quantization="none", settings=settings)
    report = evaluate(engine, scene_count=options.scenes, seed=options.seed)
    console = Console()
    console.print(_table("Held-out scenes", report.rows), _table("Where it is weak", report.weak_spots))
    console.print(f"{report.duration_s:.0f} s", highlight=False)
    found = json.dumps(
        {
            "weights_sha256": hash_weights(options.checkpoint),
            "scenes": options.scenes,
            "seed": options.seed,
            "dtype": options.dtype,
            **asdict(report),
        }
    )
    console.print(found, soft_wrap=True, highlight=False, markup=False)
    if options.save is not None:
        options.save.write_text(f"{found}\n", encoding="utf-8")


def hash_weights(checkpoint: Path) -> str:
    """Return the SHA-256 of a checkpoint's weights, which tells which ones were judged."""
    return hashlib.sha256((checkpoint / "model.safetensors").read_bytes()).hexdigest()


def _table(title: str, rows: Sequence[Row]) -> Table:
    table = Table("measure", "value", "target", "n", title=title)
    for row in rows:
        style = None if row.is_met else "red"
        table.add_row(row.name, f"{row.value:.3f}", row.demand, str(row.n), style=style)
    return table


if __name__ == "__main__":
    main()
