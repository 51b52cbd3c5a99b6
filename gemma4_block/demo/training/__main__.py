"""Train the demo checkpoint on drawn scenes: first the tower alone, then the whole model.

Run `python -m gemma4_block.demo.training --work-dir runs/demo`. It is seeded, resumes from its last
checkpoint, shows its progress and, with `--export`, writes the averaged weights as a checkpoint.
The shipped one took 1,200 steps of the tower and 2,800 of the whole model, the last 1,200 with a new start
of the learning rate; digits and boxes weigh more since step 2,100.

A tower of this size learns nothing visual from answers alone, so throw-away heads on the soft tokens
say of each what lies under it, whether it is a centre, and where the box around it begins and ends.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse
from pathlib import Path

import torch

from gemma4_block.demo.training.loop import train
from gemma4_block.demo.training.trainer import Plan


def main() -> None:
    """Read the command line, train, and export where asked."""
    defaults = Plan()
    parser = argparse.ArgumentParser(
        prog="python -m gemma4_block.demo.training",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--work-dir", type=Path, default=Path("runs/demo"))
    parser.add_argument("--export", type=Path, help="write the checkpoint here at the end")
    parser.add_argument("--stop-after-s", type=float, default=float("inf"))
    parser.add_argument("--steps", type=int, default=defaults.steps)
    parser.add_argument("--tower-steps", type=int, default=defaults.tower_steps)
    parser.add_argument("--decay-steps", type=int, default=defaults.decay_steps)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    plan = Plan(steps=arguments.steps, tower_steps=arguments.tower_steps, decay_steps=arguments.decay_steps)
    trainer = train(plan, arguments.work_dir, stop_after_s=arguments.stop_after_s)
    if arguments.export is not None:
        trainer.export(arguments.export)


if __name__ == "__main__":
    main()
