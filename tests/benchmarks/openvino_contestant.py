"""Answer questions with OpenVINO GenAI: a child process in an environment of its own, without our package.

    /path/to/its/python tests/benchmarks/openvino_contestant.py EXPORTED THREADS

It is asked as `vllm_contestant.py` is, and keeps nothing between requests. A request without shapes is about
text alone. Questions of one request are answered one after the other, because its pipeline for images takes
one at a time.
"""

import json
import math
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO

import numpy as np

# One is for older releases of transformers; which of them is read depends on the release of OpenVINO.
_FLAT, _NESTED = "preprocessor_config.json", "processor_config.json"


class Pipelines:
    """One pipeline for each visual token budget, which is read from a file when a pipeline is made.

    Args:
        exported: What `optimum-cli export openvino` wrote.
        threads: Of each.
        scratch: A folder for copies with other budgets, whose weights are links.

    """

    def __init__(self, exported: Path, threads: int, scratch: Path) -> None:
        self._exported, self._threads, self._scratch = exported, threads, scratch
        self._made: dict[int, Any] = {}

    def find(self, budget: int) -> Any:  # noqa: ANN401 - openvino_genai has no types here
        """Return the pipeline of a budget, making it where it is not there yet."""
        if budget not in self._made:
            # Who collects tests imports this file where there is no OpenVINO.
            from openvino_genai import VLMPipeline

            self._made[budget] = VLMPipeline(
                self.copy(budget), "CPU", INFERENCE_NUM_THREADS=self._threads, NUM_STREAMS=1
            )
        return self._made[budget]

    def copy(self, budget: int) -> Path:
        """Return a folder with the exported files, in which the budget is another one."""
        copy = self._scratch / str(budget)
        copy.mkdir()
        for path in self._exported.iterdir():
            if path.name in (_FLAT, _NESTED):
                content = json.loads(path.read_text(encoding="utf-8"))
                image = content if path.name == _FLAT else content["image_processor"]
                image["max_soft_tokens"] = budget
                (copy / path.name).write_text(json.dumps(content), encoding="utf-8")
            elif path.suffix == ".json":
                shutil.copyfile(path, copy / path.name)
            else:
                (copy / path.name).symlink_to(path)
        return copy


def answer(find: Callable[[int], Any], request: dict[str, Any], pixels: BinaryIO) -> dict[str, Any]:
    """Read the images of a request and return what to say to it."""
    import openvino
    from openvino_genai import GenerationConfig

    images = [_read(pixels, shape) for shape in request["shapes"]]
    generation = GenerationConfig()
    generation.max_new_tokens = request["max_new_tokens"]
    generation.do_sample = False
    # The others cannot end early either, because their weights are random.
    generation.ignore_eos = True
    pipeline = find(request["max_soft_tokens"])
    tokens, prompt_tokens = [], []
    for place, text in enumerate(request["texts"]):
        own = {"images": [openvino.Tensor(images[place][None])]} if images else {}
        metrics = pipeline.generate(text, generation_config=generation, **own).perf_metrics
        tokens.append(metrics.get_num_generated_tokens())
        prompt_tokens.append(metrics.get_num_input_tokens())
    return {"tokens": tokens, "prompt_tokens": prompt_tokens}


def _read(pixels: BinaryIO, shape: list[int]) -> np.ndarray:
    return np.frombuffer(pixels.read(math.prod(shape)), dtype=np.uint8).reshape(shape)


def main() -> None:
    """Say that it is ready, and answer until stdin ends; a pipeline is loaded at its first request."""
    exported, threads = sys.argv[1:]
    with TemporaryDirectory() as scratch:
        pipelines = Pipelines(Path(exported).resolve(), int(threads), Path(scratch))
        _say({"ready": True})
        while line := sys.stdin.buffer.readline():
            _say(answer(pipelines.find, json.loads(line), sys.stdin.buffer))


def _say(reply: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(reply) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
