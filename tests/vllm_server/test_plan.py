"""The command of a server: what it has for a model, a machine and options, and what is refused."""

import json
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from gemma4_block.errors import ConfigurationError
from gemma4_block.servers import parse_servers
from gemma4_block.vllm_server import (
    Adapter,
    Gpu,
    LaunchOptions,
    ServerMachine,
    choose_quantization,
    find_served_model,
    plan_launch,
)

GIB = 2**30
L4 = Gpu(memory_bytes=24 * GIB, capability=(8, 9))
H100 = Gpu(memory_bytes=80 * GIB, capability=(9, 0))
V100 = Gpu(memory_bytes=32 * GIB, capability=(7, 0))
CPU = ServerMachine(free_bytes=24 * GIB)
DEFAULTS = LaunchOptions()
PLATES = Adapter(name="plates", directory=Path("/models/plates"), rank=12)
SHAPES = Adapter(name="my-project/3", directory=Path("/models/shapes"), rank=64)

ALWAYS = (
    '--trust-request-mm-kwargs --reasoning-parser gemma4 --structured-outputs-config \'{"backend": '
    '"guidance"}\' --chat-template-content-format openai'
)


@pytest.mark.parametrize(
    ("model", "machine", "options", "expected"),
    [
        pytest.param(
            "gemma-4-e2b-it",
            ServerMachine(gpus=(L4,)),
            DEFAULTS,
            "--model google/gemma-4-E2B-it --served-model-name gemma-4-e2b-it --host 127.0.0.1 --port 8000 "
            f"--max-model-len 16384 --dtype auto --gpu-memory-utilization 0.9 {ALWAYS}",
            id="one GPU",
        ),
        pytest.param(
            "gemma-4-e4b-it",
            CPU,
            replace(DEFAULTS, name="four", port=8001, dtype="bfloat16", is_eager=True, image_seq_length=560),
            "--model google/gemma-4-E4B-it --served-model-name four --host 127.0.0.1 --port 8001 "
            f"--max-model-len 16384 --dtype bfloat16 --enforce-eager {ALWAYS} "
            "--mm-processor-kwargs '{\"max_soft_tokens\": 560}'",
            id="processor",
        ),
        pytest.param(
            "gemma-4-31b-it",
            ServerMachine(gpus=(L4,) * 8),
            replace(
                DEFAULTS,
                tensor_parallel=4,
                data_parallel=2,
                quantization="fp8",
                max_model_len=32_768,
                gpu_memory_utilization=0.8,
            ),
            "--model google/gemma-4-31B-it --served-model-name gemma-4-31b-it --host 127.0.0.1 --port 8000 "
            "--max-model-len 32768 --dtype auto --quantization fp8 --gpu-memory-utilization 0.8 "
            f"--tensor-parallel-size 4 --data-parallel-size 2 {ALWAYS}",
            id="eight GPUs",
        ),
        pytest.param(
            "gemma-4-e2b-it",
            ServerMachine(gpus=(L4,)),
            replace(DEFAULTS, adapters=(PLATES, SHAPES)),
            "--model google/gemma-4-E2B-it --served-model-name gemma-4-e2b-it --host 127.0.0.1 --port 8000 "
            f"--max-model-len 16384 --dtype auto --gpu-memory-utilization 0.9 {ALWAYS} --enable-lora "
            "--max-lora-rank 64 --max-loras 2 --lora-modules plates=/models/plates "
            "my-project/3=/models/shapes",
            id="adapters",
        ),
    ],
)
def test_a_command_has_what_the_model_needs(
    model: str, machine: ServerMachine, options: LaunchOptions, expected: str
) -> None:
    """And nothing that stays as vLLM has it."""
    launch = plan_launch(find_served_model(model), machine, options)

    assert launch.arguments == ("-m", "vllm.entrypoints.openai.api_server", *shlex.split(expected))


def test_a_model_is_never_longer_than_it_was_made_for() -> None:
    """The embedded one has 8,192 tokens."""
    arguments = plan_launch(find_served_model("gemma-4-demo"), CPU, DEFAULTS).arguments

    assert arguments[arguments.index("--max-model-len") + 1] == "8192"


@pytest.mark.parametrize(
    ("options", "free_gib", "cache_gib"),
    [
        pytest.param(DEFAULTS, 24, "7", id="half of the rest"),
        pytest.param(replace(DEFAULTS, dtype="float32"), 24, "2", id="float32"),
        pytest.param(replace(DEFAULTS, data_parallel=2), 24, "1", id="two copies"),
        pytest.param(DEFAULTS, 500, "16", id="enough"),
        pytest.param(DEFAULTS, None, "1", id="unknown"),
        pytest.param(replace(DEFAULTS, cpu_cache_gib=3), 24, "3", id="wanted"),
    ],
)
def test_a_processor_keeps_prompts_in_what_the_weights_leave(
    options: LaunchOptions, free_gib: int | None, cache_gib: str
) -> None:
    """E2B has 10.2 GB of weights in bfloat16."""
    machine = ServerMachine(free_bytes=None if free_gib is None else free_gib * GIB)
    launch = plan_launch(find_served_model("gemma-4-e2b-it"), machine, options)

    assert dict(launch.environment) == {
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_CPU_KVCACHE_SPACE": cache_gib,
        "OMP_WAIT_POLICY": "PASSIVE",
    }


@pytest.mark.parametrize(
    ("model", "machine", "options", "words"),
    [
        ("gemma-4-e2b-it", CPU, replace(DEFAULTS, host="0.0.0.0"), "--key-env"),  # noqa: S104 - refused
        ("gemma-4-e2b-it", CPU, replace(DEFAULTS, max_model_len=1024), "--max-model-len is 1024"),
        ("gemma-4-e2b-it", CPU, replace(DEFAULTS, quantization="fp8"), "fp8 needs a GPU"),
        ("gemma-4-e2b-it", CPU, replace(DEFAULTS, tensor_parallel=2), "works on the processor"),
        ("gemma-4-e2b-it", CPU, replace(DEFAULTS, cpu_cache_gib=20), "20 GiB must be left"),
        ("gemma-4-12b-it", CPU, DEFAULTS, "2 GiB must be left"),
        (
            "gemma-4-e2b-it",
            ServerMachine(gpus=(L4,)),
            replace(DEFAULTS, cpu_cache_gib=2),
            "--cpu-cache-gib is for a server on the processor",
        ),
        (
            "gemma-4-e2b-it",
            ServerMachine(gpus=(L4,) * 16),
            replace(DEFAULTS, tensor_parallel=16),
            "--tensor-parallel is 16, and gemma-4-e2b-it has 8 heads. Use one of 1, 2, 4, 8.",
        ),
        (
            "gemma-4-26b-a4b-it",
            ServerMachine(gpus=(H100,) * 6),
            replace(DEFAULTS, tensor_parallel=6),
            "Use one of 1, 2, 4, 8, 16.",
        ),
        (
            "gemma-4-e4b-it",
            ServerMachine(gpus=(L4,) * 3),
            replace(DEFAULTS, tensor_parallel=2, data_parallel=2),
            "needs 4 GPUs, and there are 3",
        ),
        ("gemma-4-31b-it", ServerMachine(gpus=(L4,)), DEFAULTS, "62.5 GB of each GPU"),
        (
            "gemma-4-31b-it",
            ServerMachine(gpus=(L4,)),
            replace(DEFAULTS, quantization="fp8"),
            "31.3 GB of each GPU",
        ),
        (
            "gemma-4-31b-it",
            ServerMachine(gpus=(H100, L4)),
            replace(DEFAULTS, tensor_parallel=2),
            "gets 23.2 GB",
        ),
        (
            "gemma-4-e4b-it",
            ServerMachine(gpus=(L4,)),
            replace(DEFAULTS, dtype="float32"),
            "31.8 GB of each GPU",
        ),
        (
            "gemma-4-e2b-it",
            ServerMachine(gpus=(V100,)),
            replace(DEFAULTS, quantization="fp8"),
            "a GPU here has 7.0",
        ),
        (
            "gemma-4-e2b-it",
            ServerMachine(gpus=(L4,)),
            replace(DEFAULTS, quantization="fp8", dtype="float32"),
            "Leave one of them out",
        ),
        (
            "gemma-4-e2b-it",
            CPU,
            replace(DEFAULTS, name="plates", adapters=(PLATES,)),
            "names of their own; they are plates, plates",
        ),
        ("gemma-4-e2b-it", CPU, replace(DEFAULTS, adapters=(replace(PLATES, rank=600),)), "has rank 600"),
    ],
)
def test_what_cannot_work_is_refused(
    model: str, machine: ServerMachine, options: LaunchOptions, words: str
) -> None:
    """Before minutes are spent on loading."""
    with pytest.raises(ConfigurationError) as caught:
        plan_launch(find_served_model(model), machine, options)

    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("model", "given", "words"),
    [
        ("gemma-4-26b-a4b-it", "nf4", "bitsandbytes leaves its experts"),
        (
            "gemma-4-e2b-it",
            "nf4",
            "--quantization is nf4. vLLM 0.32.0 has no bitsandbytes. Use one of none, fp8.",
        ),
        ("gemma-4-e2b-it", "awq", "--quantization is awq. Use one of none, fp8."),
    ],
)
def test_4_bits_are_refused(model: str, given: str, words: str) -> None:
    """With the model's own reason where it has one."""
    with pytest.raises(ConfigurationError) as caught:
        choose_quantization(given, find_served_model(model))

    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("options", "entries"),
    [
        pytest.param(
            DEFAULTS,
            {"gemma-4-e2b-it": {"urls": ["http://127.0.0.1:8000/v1"], "quantization": "none"}},
            id="plain",
        ),
        pytest.param(
            replace(DEFAULTS, host="::1", quantization="fp8", name="two", adapters=(PLATES,)),
            {name: {"urls": ["http://[::1]:8000/v1"]} for name in ("two", "plates")},
            id="fp8 with an adapter",
        ),
        pytest.param(
            replace(DEFAULTS, host="0.0.0.0", port=9, key_env="PLATES_KEY"),  # noqa: S104 - printed only
            {
                "gemma-4-e2b-it": {
                    "urls": ["http://127.0.0.1:9/v1"],
                    "key_env": "PLATES_KEY",
                    "quantization": "none",
                }
            },
            id="with a key",
        ),
    ],
)
def test_the_map_of_servers_belongs_to_the_command(
    options: LaunchOptions, entries: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every model of the server has an entry, which can be read."""
    monkeypatch.setenv("PLATES_KEY", "k")
    launch = plan_launch(find_served_model("gemma-4-e2b-it"), ServerMachine(gpus=(L4,)), options)

    assert json.loads(launch.servers) == entries
    assert [server.model_id for server in parse_servers(launch.servers)] == list(entries)


def test_a_command_is_written_for_a_shell() -> None:
    """An option a line; the key stays in its variable."""
    options = replace(DEFAULTS, name="it's", key_env="PLATES_KEY")
    written = plan_launch(find_served_model("gemma-4-e2b-it"), CPU, options).write("/my python")

    lines = written.replace(" \\\n", "\n").splitlines()
    assert lines[:3] == [
        (
            "VLLM_NO_USAGE_STATS=1 VLLM_CPU_KVCACHE_SPACE=7 OMP_WAIT_POLICY=PASSIVE "
            """VLLM_API_KEY="$PLATES_KEY" '/my python' -m vllm.entrypoints.openai.api_server"""
        ),
        "  --model google/gemma-4-E2B-it",
        """  --served-model-name 'it'"'"'s'""",
    ]
    assert shlex.split(written.replace("\\\n", " "))[6:8] == ["vllm.entrypoints.openai.api_server", "--model"]
