"""Judge a demo checkpoint on drawn scenes that its training never saw.

Run `python -m gemma4_block.demo.evaluation`. It prints every measured share with what the shipped checkpoint
must reach, where the model is weak, which demands are missed, which rows are
worse than in the saved report, and all of it once more as one line of JSON.
`--checkpoint` judges an export of a training that goes on; `--scenes 0` leaves out the scenes of the first
generator, `--pictures 0` the wide pictures of the second, and `--budgets 70` the larger budgets.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from gemma4_block.contract import LocalModel, check_image_seq_length
from gemma4_block.demo.evaluation.report import (
    CHECKPOINT_DIRECTORY,
    HELD_OUT_SEED,
    SAVED_REPORT,
    evaluate,
    hash_weights,
)
from gemma4_block.demo.evaluation.scoring import Row
from gemma4_block.demo.evaluation.tables import fill_page, list_missed, list_worse, write_markdown
from gemma4_block.demo.evaluation.wide import BUDGETS
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
    parser.add_argument("--scenes", type=int, default=300, help="of each kind, of the first generator")
    parser.add_argument("--pictures", type=int, default=60, help="of each kind, of the second generator")
    parser.add_argument("--budgets", type=int, nargs="+", choices=BUDGETS, default=list(BUDGETS))
    parser.add_argument("--seed", type=int, default=HELD_OUT_SEED)
    # Never `auto`, which is another precision on another machine.
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument(
        "--baseline", type=Path, default=SAVED_REPORT, help="a saved line of JSON that rows are compared with"
    )
    parser.add_argument("--quantization", choices=("none", "int8", "int8_tower"), default="none")
    parser.add_argument("--save", type=Path, help="also write the line of JSON here")
    parser.add_argument("--markdown", type=Path, help="also write the tables here, as Markdown")
    parser.add_argument("--fill", type=Path, help="also put the tables into this page, as docs/demo-model.md")
    options = parser.parse_args(arguments)
    settings = Settings(max_batch_size=_BATCH_SIZE, dtype=options.dtype, device="cpu")
    engine = load_local(LocalModel(directory=options.checkpoint, quantization=options.quantization), settings)
    report = evaluate(
        engine,
        scene_count=options.scenes,
        picture_count=options.pictures,
        budgets=[check_image_seq_length(budget) for budget in options.budgets],
        seed=options.seed,
    )
    weights_sha256 = hash_weights(options.checkpoint)
    console = Console()
    for title, rows in (
        ("Held-out scenes", report.rows),
        ("Where it is weak", report.weak_spots),
        ("Wide pictures", report.wide_rows),
    ):
        if rows:
            console.print(_table(title, rows))
    for line in list_missed([*report.rows, *report.wide_rows]):
        console.print(f"Missed: {line}", highlight=False)
    saved = json.loads(options.baseline.read_text(encoding="utf-8"))
    before = [Row(**row) for row in (*saved["rows"], *saved.get("wide_rows", ()))]
    for line in list_worse([*report.rows, *report.wide_rows], before):
        console.print(f"Worse: {line}", highlight=False)
    console.print(f"{report.duration_s:.0f} s, weights {weights_sha256}", highlight=False)
    found = json.dumps(
        {
            "weights_sha256": weights_sha256,
            "scenes": options.scenes,
            "pictures": options.pictures,
            "seed": options.seed,
            "dtype": options.dtype,
            "quantization": options.quantization,
            **asdict(report),
        }
    )
    console.print(found, soft_wrap=True, highlight=False, markup=False)
    if options.save is not None:
        options.save.write_text(f"{found}\n", encoding="utf-8")
    measured = write_markdown(report, weights_sha256)
    if options.markdown is not None:
        options.markdown.write_text(measured, encoding="utf-8")
    if options.fill is not None:
        page = options.fill.read_text(encoding="utf-8")
        options.fill.write_text(fill_page(page, measured), encoding="utf-8")


def _table(title: str, rows: Sequence[Row]) -> Table:
    table = Table("measure", "budget", "value", "target", "n", title=title)
    for row in rows:
        style = None if row.is_met else "red"
        budget = "" if row.budget is None else str(row.budget)
        table.add_row(row.name, budget, f"{row.value:.3f}", row.demand, str(row.n), style=style)
    return table


if __name__ == "__main__":
    main()
