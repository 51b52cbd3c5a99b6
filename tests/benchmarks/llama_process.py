"""llama.cpp as a contestant: its converter and its own server, built from source in a folder of their own."""

import base64
import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
from safetensors.torch import load_file, save_file

from gemma4_block.contract import ImageSeqLength, RgbImage
from tests.parity.vllm_server import find_port

_START_S = 120
_MOST_ROWS = 8
_MOST_TOKENS = 2048
_TOWER = "mmproj.gguf"
_CONVERTER = Path(__file__).with_name("llama_converter.py")
_EXACT = "f32"
_WHOLE = ("bf16", _EXACT)


@dataclass(frozen=True, kw_only=True, slots=True)
class LlamaBuild:
    """Where llama.cpp is.

    Attributes:
        source: Its repository, with the programs in `build/bin`.
        python: Of an environment that can run its converter.

    """

    source: Path
    python: Path


def convert(build: LlamaBuild, checkpoint: Path, folder: Path, precision: str) -> None:
    """Write the tower and the language model of a checkpoint for llama.cpp, where they are not there yet.

    Args:
        build: Has the converter and what quantizes.
        checkpoint: A directory as Google's repositories have it.
        folder: Gets the files, all of one checkpoint.
        precision: Of the language model: `bf16`, `q8_0` and so on. The tower is in `f32` beside `f32`, and in
            `bf16` beside all others, so these have another folder.

    """
    adapted = folder / "adapted"
    if not adapted.is_dir():
        _adapt(checkpoint, adapted)
    outtype = precision if precision in _WHOLE else _WHOLE[0]
    converter = [build.python, _CONVERTER, adapted, "--outtype", outtype]
    quantizer = build.source / "build" / "bin" / "llama-quantize"
    whole = folder / f"{outtype}.gguf"
    _make(whole, lambda new: [*converter, "--outfile", new], build)
    _make(folder / _TOWER, lambda new: [*converter, "--mmproj", "--outfile", new], build)
    _make(folder / f"{precision}.gguf", lambda new: [quantizer, whole, new, precision], build)


def _adapt(checkpoint: Path, folder: Path) -> None:
    """Copy a checkpoint in a form that the converter and the server take.

    Without what hears, because the server ends itself over an audio tower of another size than the published
    ones. With the width of full attention where the published configs have it, because the converter takes
    512 for it otherwise. And with a name for every row of the embeddings, as the published tokenizers have,
    because the converter would cut the others off.
    """
    unfinished = folder.with_suffix(".unfinished")
    shutil.copytree(
        checkpoint, unfinished, ignore=shutil.ignore_patterns("*.safetensors"), dirs_exist_ok=True
    )
    config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    config["audio_config"] = None
    by_layer = config["text_config"].pop("per_layer_config", None)
    if by_layer:
        (config["text_config"]["global_head_dim"],) = {layer["head_dim"] for layer in by_layer.values()}
    (unfinished / "config.json").write_text(json.dumps(config), encoding="utf-8")
    tokenizer = json.loads((checkpoint / "tokenizer.json").read_text(encoding="utf-8"))
    names = tokenizer["model"]["vocab"]
    names |= {f"<unused{row}>": row for row in range(len(names), config["text_config"]["vocab_size"])}
    (unfinished / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    tensors = load_file(checkpoint / "model.safetensors")
    seeing = {name: tensor for name, tensor in tensors.items() if "audio" not in name}
    save_file(seeing, unfinished / "model.safetensors", metadata={"format": "pt"})
    unfinished.rename(folder)


def _make(path: Path, write_command: Callable[[Path], Sequence[str | Path]], build: LlamaBuild) -> None:
    """Run the command that writes a file, unless the file is there."""
    if path.is_file():
        return
    # The converter looks at how a name ends.
    unfinished = path.with_name(f"unfinished-{path.name}")
    paths = os.pathsep.join([str(build.source), str(build.source / "gguf-py")])
    variables = {**os.environ, "PYTHONPATH": paths}
    done = subprocess.run(write_command(unfinished), check=False, env=variables, capture_output=True)  # noqa: S603
    if done.returncode:
        raise RuntimeError(f"{path.name} cannot be written:\n{done.stderr.decode(errors='replace')}")
    unfinished.rename(path)


class LlamaServer:
    """A running server, whose images all get one visual token budget.

    Args:
        url: Of the server.

    """

    def __init__(self, url: str) -> None:
        self._url = url

    def ask(self, texts: Sequence[str], images: Sequence[RgbImage], *, max_new_tokens: int) -> list[int]:
        """Ask all at once, each from a thread of its own, and return how many tokens each answer took.

        Args:
            texts: The questions.
            images: One for each question, or none at all.
            max_new_tokens: How long answers are.

        """
        bodies = [
            {
                "messages": [{"role": "user", "content": _write_content(text, images[place : place + 1])}],
                "max_tokens": max_new_tokens,
                "temperature": 0,
                # The others cannot end early either, and read every prompt anew.
                "ignore_eos": True,
                "cache_prompt": False,
            }
            for place, text in enumerate(texts)
        ]
        with ThreadPoolExecutor(len(bodies)) as threads:
            return [reply["usage"]["completion_tokens"] for reply in threads.map(self._post, bodies)]

    def answer(self, text: str, image: RgbImage, *, max_new_tokens: int) -> str:
        """Ask a question about an image, and return what the likeliest tokens say."""
        body = {
            "messages": [{"role": "user", "content": _write_content(text, [image])}],
            "max_tokens": max_new_tokens,
            "temperature": 0,
            "cache_prompt": False,
        }
        said: str = self._post(body)["choices"][0]["message"]["content"]
        return said

    def _post(self, body: dict[str, object]) -> dict[str, Any]:
        request = urllib.request.Request(  # noqa: S310 - the server that was started below
            f"{self._url}/v1/chat/completions",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request) as response:  # noqa: S310
            reply: dict[str, Any] = json.load(response)
            return reply


@contextmanager
def running_llama(
    build: LlamaBuild, folder: Path, precision: str, budget: ImageSeqLength, *, threads: int
) -> Iterator[LlamaServer]:
    """Start its server on what `convert` wrote, and end it afterwards."""
    server, url = _start(build, folder, precision, budget, threads)
    try:
        yield LlamaServer(url)
    finally:
        server.terminate()
        server.wait()


def _start(
    build: LlamaBuild, folder: Path, precision: str, budget: ImageSeqLength, threads: int
) -> tuple["subprocess.Popen[bytes]", str]:
    """Return a server that is ready, and its URL.

    Its products with tiles (AMX) end the server on some machines; then it leaves the weights as they are in
    the file, which uses vectors.
    """
    options = {
        "--model": folder / f"{precision}.gguf",
        "--mmproj": folder / _TOWER,
        "--threads": threads,
        "--threads-batch": threads,
        "--threads-http": _MOST_ROWS + 2,
        "--parallel": _MOST_ROWS,
        "--ctx-size": _MOST_ROWS * _MOST_TOKENS,
        # Told only the most, it would leave an image as small as it is.
        "--image-min-tokens": budget,
        "--image-max-tokens": budget,
        "--cache-ram": 0,
    }
    if precision == _EXACT:
        # Keys and values would be halved in precision.
        options |= {"--cache-type-k": _EXACT, "--cache-type-v": _EXACT}
    command = [str(build.source / "build" / "bin" / "llama-server"), "--jinja", "--no-webui"]
    command += [str(word) for option in options.items() for word in option]
    log = folder / f"{precision}-{budget}.log"
    for more in ([], ["--no-repack"]):
        port = find_port()
        with log.open("wb") as output:
            server = subprocess.Popen(  # noqa: S603 - what the user named
                [*command, *more, "--port", str(port)], stdout=output, stderr=subprocess.STDOUT
            )
        if _is_ready(f"http://127.0.0.1:{port}", server):
            return server, f"http://127.0.0.1:{port}"
    raise RuntimeError(f"llama-server ended with exit code {server.returncode}; see {log}.")


def _is_ready(url: str, server: "subprocess.Popen[bytes]") -> bool:
    """Wait until a server answers, or has ended."""
    deadline = time.monotonic() + _START_S
    while server.poll() is None:
        if _answers(url):
            return True
        if time.monotonic() > deadline:
            server.kill()
        time.sleep(0.2)
    return False


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health"):  # noqa: S310 - a port of this machine
            return True
    except (urllib.error.URLError, ConnectionError):
        return False


def _write_content(text: str, images: Sequence[RgbImage]) -> list[dict[str, object]]:
    return [*map(_write_image, images), {"type": "text", "text": text}]


def _write_image(image: RgbImage) -> dict[str, object]:
    _, png = cv2.imencode(".png", image[..., ::-1])
    url = f"data:image/png;base64,{base64.b64encode(png.tobytes()).decode()}"
    return {"type": "image_url", "image_url": {"url": url}}
