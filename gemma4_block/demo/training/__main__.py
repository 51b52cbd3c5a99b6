"""Train the demo checkpoint on drawn pictures: first the tower alone, then the whole model.

Run `python -m gemma4_block.demo.training --directory runs/demo`. It is seeded, saves every few minutes, goes
on from there when it is run again, and logs its progress to `log.jsonl`. The learning rate stays where it is
until `--finish-in` says in how many steps to end; with `--export`, the averaged weights are then written as a
checkpoint. Where `last.pt` of an earlier training is gone, `--start` goes on from the checkpoint it wrote.

A tower of this size learns nothing visual from answers alone, so throw-away heads on the soft tokens say of
each what lies under its patches, and where the boxes around things begin and end.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse
from pathlib import Path

import torch

from gemma4_block.demo.training.learning import Plan, Settings, Start, train


def main() -> None:
    """Read the command line, train, and export where asked."""
    parser = argparse.ArgumentParser(
        prog="python -m gemma4_block.demo.training",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--directory", type=Path, default=Path("runs/demo"))
    parser.add_argument("--export", type=Path, help="write the checkpoint here at the end")
    parser.add_argument(
        "--finish-in", type=int, help="let the learning rate fall over so many steps, then end"
    )
    parser.add_argument(
        "--start",
        nargs=2,
        metavar=("CHECKPOINT", "STEP"),
        help="where there is no last.pt, go on from a checkpoint that has learnt so many steps",
    )
    parser.add_argument(
        "--share",
        type=float,
        default=1.0,
        help="with --start: how much of the new weights is exported; the rest is of that checkpoint",
    )
    parser.add_argument("--learning-rate", type=float, default=Plan().learning_rate)
    parser.add_argument("--stop-after-s", type=float, default=float("inf"))
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument(
        "--no-compile", action="store_true", help="start at once, with steps of twice the time"
    )
    arguments = parser.parse_args()
    if arguments.share != 1.0 and (arguments.start is None or not 0.0 < arguments.share < 1.0):
        parser.error("--share is above 0 and at most 1, and less than 1 with --start only")
    torch.set_num_threads(arguments.threads)
    settings = Settings(
        directory=arguments.directory,
        stop_after_s=arguments.stop_after_s,
        is_compiled=not arguments.no_compile,
    )
    start = None
    if arguments.start is not None:
        checkpoint, step = arguments.start
        start = Start(checkpoint=Path(checkpoint), step=int(step))
    plan = Plan(learning_rate=arguments.learning_rate)
    trainer = train(plan, settings, finish_in=arguments.finish_in, start=start)
    if arguments.export is not None:
        trainer.export(
            arguments.export, earlier=None if start is None else start.checkpoint, share=arguments.share
        )


if __name__ == "__main__":
    main()
