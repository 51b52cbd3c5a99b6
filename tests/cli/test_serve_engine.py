"""`serve-engine` prints a server's command, and becomes that server with --run."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Ended

ARGUMENTS = ("serve-engine", "gemma-4-demo", "--device", "cpu")


Run = Callable[..., Ended]


def test_command_and_map_are_printed(run: Run) -> None:
    """Every option reaches the command."""
    ended = run(
        *ARGUMENTS,
        *("--name", "d", "--port", "9", "--dtype", "float32", "--eager", "--max-model-len", "4096"),
        *("--image-seq-length", "70", "--cpu-cache-gib", "1", "--python", "py", "--data-parallel", "2"),
    )
    command, _, exported = ended.stdout.partition("\n\n# Where workflows run:\n")

    assert ended.exit_code == 0
    words = shlex.split(command.replace("\\\n", " "))
    assert words[:4] == [
        "VLLM_NO_USAGE_STATS=1",
        "VLLM_CPU_KVCACHE_SPACE=1",
        "OMP_WAIT_POLICY=PASSIVE",
        "py",
    ]
    for option, value in (
        ("--served-model-name", "d"),
        ("--port", "9"),
        ("--dtype", "float32"),
        ("--max-model-len", "4096"),
        ("--mm-processor-kwargs", '{"max_soft_tokens": 70}'),
        ("--data-parallel-size", "2"),
    ):
        assert words[words.index(option) + 1] == value
    assert "--enforce-eager" in words
    name, value = shlex.split(exported)[1].split("=", 1)
    assert name == "GEMMA4_BLOCK_SERVERS"
    assert json.loads(value) == {"d": {"urls": ["http://127.0.0.1:9/v1"], "quantization": "none"}}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--device", "tpu"), "--device is tpu. Use auto, cuda or cpu."),
        (("--dtype", "int4"), "--dtype is int4. Use auto, bfloat16 or float32."),
        (("--image-seq-length", "71"), "--image-seq-length is 71. Use 70, 140"),
        (("--quantization", "nf4"), "it takes 12 MB as it is"),
        (("--key-env", "NOT_SET_ANYWHERE"), "--key-env cannot be used: the environment variable"),
        (("--host", "10.0.0.1"), "Name a variable with a key in --key-env"),
        (("--lora", "plates"), "Write NAME=DIRECTORY"),
        (("--tensor-parallel", "3"), "Use one of 1, 2, 4."),
        (("--gpu-memory-utilization", "2"), "not in the range"),
        (("--run", "--python", "/nowhere/python"), "--python is /nowhere/python, which cannot be run"),
        (("--run", "--python", sys.executable), "has no vLLM. Install it into an environment of its own"),
    ],
)
def test_what_cannot_work_is_refused(run: Run, options: tuple[str, ...], words: str) -> None:
    """With a line that names the option."""
    ended = run(*ARGUMENTS, *options)

    assert ended.exit_code in (1, 2)
    assert words in " ".join(ended.stderr.split())


def test_run_becomes_the_server(tmp_path: Path) -> None:
    """Of the Python that is named, with the environment, the key and the exit code of its own."""
    fake = tmp_path / "python"
    fake.write_text(
        '#!/bin/sh\n[ "$1" = -c ] && exit 0\necho "$VLLM_CPU_KVCACHE_SPACE $VLLM_API_KEY $@"\nexit 7\n'
    )
    fake.chmod(0o755)
    done = subprocess.run(  # noqa: S603 - our own code
        [
            *(sys.executable, "-m", "gemma4_block", *ARGUMENTS, "--cpu-cache-gib", "2"),
            *("--key-env", "DEMO_KEY", "--python", str(fake), "--run"),
        ],
        env=os.environ | {"DEMO_KEY": "k-1"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 7, done.stderr
    assert done.stdout.splitlines()[-1].startswith("2 k-1 -m vllm.entrypoints.openai.api_server --model /")
    # What is printed before can be seen by others.
    assert "k-1" not in done.stdout.partition("GEMMA4_BLOCK_SERVERS")[0]
