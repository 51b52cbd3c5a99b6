"""Judge a demo checkpoint on drawn scenes that its training never saw.

Run `python -m gemma4_block.demo.evaluation`. It prints every measured share with the least that the shipped
checkpoint must reach, where the model is weak, and all of it once more as one line of JSON.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from gemma4_block.contract import LocalModel
from gemma4_block.demo.evaluation.report import CHECKPOINT_DIRECTORY, HELD_OUT_SEED, evaluate, hash_weights
from gemma4_block.demo.evaluation.scoring import Row
from gemma4_block.engine.pool import load_local
from gemma4_block.settings import Settings

_BATCH_SIZE = 32


def main(arguments: Sequence[str] | None = None) -> None:
    """Judge a checkpoint directory and print what was found."""
    parser = argparse.ArgumentParser(
        prog="python -m gemma4_block.demo.evaluation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT_DIRECTORY)
    parser.add_argument("--scenes", type=int, default=300)
    parser.add_argument("--seed", type=int, default=HELD_OUT_SEED)
    # Never `auto`, which is another precision on another machine.
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--quantization", choices=("none", "int8", "int8_tower"), default="none")
    parser.add_argument("--save", type=Path, help="also write the line of JSON here")
    options = parser.parse_args(arguments)
    settings = Settings(max_batch_size=_BATCH_SIZE, dtype=options.dtype, device="cpu")
    engine = load_local(LocalModel(directory=options.checkpoint, quantization=options.quantization), settings)
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
            "quantization": options.quantization,
            **asdict(report),
        }
    )
    console.print(found, soft_wrap=True, highlight=False, markup=False)
    if options.save is not None:
        options.save.write_text(f"{found}\n", encoding="utf-8")


def _table(title: str, rows: Sequence[Row]) -> Table:
    table = Table("measure", "value", "target", "n", title=title)
    for row in rows:
        style = None if row.is_met else "red"
        table.add_row(row.name, f"{row.value:.3f}", row.demand, str(row.n), style=style)
    return table


if __name__ == "__main__":
    main()
