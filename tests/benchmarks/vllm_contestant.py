"""Answer questions with vLLM on the CPU: a child process in an environment of its own, without our package.

    /path/to/its/python tests/benchmarks/vllm_contestant.py CHECKPOINT DTYPE

A request on stdin is a line of JSON, `{"texts", "shapes", "max_soft_tokens", "max_new_tokens"}`, and after it
the bytes of the images, each `(H, W, 3)` uint8 RGB. The reply on stdout is a line with how many tokens each
answer took. `{"forget": true}` empties the caches. The first line on stdout says that the model is loaded.
"""

import json
import math
import os
import sys
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from vllm import LLM

_MOST_TOKENS = 2048
_MOST_ROWS = 8


def load(directory: str, dtype: str) -> "LLM":
    """Load a checkpoint whose config.json has `vision_config.default_output_length`, as Google's have."""
    # Who collects tests or doctests imports this file where there is no vLLM.
    from vllm import LLM

    return LLM(
        model=directory,
        dtype=dtype,
        seed=0,
        # Compiling adds minutes to the start, and gained nothing where it was tried: once, in float32.
        enforce_eager=True,
        enable_prefix_caching=True,
        max_model_len=_MOST_TOKENS,
        max_num_seqs=_MOST_ROWS,
        limit_mm_per_prompt={"image": 1, "video": 0, "audio": 0},
    )


def answer(model: "LLM", request: dict[str, Any], pixels: BinaryIO) -> dict[str, Any]:
    """Read the images of a request and return what to say to it."""
    from vllm import SamplingParams

    if request.get("forget"):
        model.reset_mm_cache()
        model.llm_engine.reset_encoder_cache()
        return {"forgot": model.reset_prefix_cache()}
    images = [_read(pixels, shape) for shape in request["shapes"]]
    outputs = model.chat(
        [_ask(image, text) for image, text in zip(images, request["texts"], strict=True)],
        # The others cannot end early either, because their weights are random.
        SamplingParams(temperature=0.0, max_tokens=request["max_new_tokens"], ignore_eos=True),
        use_tqdm=False,
        # Its own detector does not see that the template walks through a list.
        chat_template_content_format="openai",
        mm_processor_kwargs={"max_soft_tokens": request["max_soft_tokens"]},
    )
    return {
        "tokens": [len(output.outputs[0].token_ids) for output in outputs],
        "prompt_tokens": [len(output.prompt_token_ids or ()) for output in outputs],
    }


def _read(pixels: BinaryIO, shape: list[int]) -> Image.Image:
    data = pixels.read(math.prod(shape))
    return Image.fromarray(np.frombuffer(data, dtype=np.uint8).reshape(shape))


def _ask(image: Image.Image, text: str) -> list[Any]:
    content = [{"type": "image_pil", "image_pil": image}, {"type": "text", "text": text}]
    return [{"role": "user", "content": content}]


def main() -> None:
    """Load, say so, and answer until stdin ends."""
    # vLLM logs to stdout, where only answers belong.
    said = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    model = load(*sys.argv[1:])
    said.write(json.dumps({"ready": True}) + "\n")
    while line := sys.stdin.buffer.readline():
        said.write(json.dumps(answer(model, json.loads(line), sys.stdin.buffer)) + "\n")


# The engine of vLLM is a child process that imports this file again.
if __name__ == "__main__":
    main()
