"""The environment, read once, refused when malformed."""

import os
import re
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from gemma4_block.contract import DEFAULT_MAX_NEW_TOKENS, KeepAlive
from gemma4_block.errors import ConfigurationError
from gemma4_block.servers import Server, parse_servers

Dtype = Literal["auto", "bfloat16", "float32"]
LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]

_PREFIX = "GEMMA4_BLOCK_"
# What is never repeated in an error.
_UNSEEN = ("servers",)
_DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?|cuda:\d+(, *cuda:\d+)+")


class Settings(BaseSettings):
    """The settings of the machine's operator; requests cannot change them. Prefix: `GEMMA4_BLOCK_`."""

    # Inputs are hidden, because a key may have been written where it does not belong.
    model_config = SettingsConfigDict(
        env_prefix=_PREFIX, extra="forbid", frozen=True, hide_input_in_errors=True
    )

    model_roots: Annotated[tuple[Path, ...], NoDecode] = Field(
        default=(),
        description="Folders that hold model directories, separated like PATH. None by default: requests "
        "can then name models only by id.",
    )
    allow_downloads: bool = Field(
        default=False,
        description="Whether a request may have a model of the table of models downloaded from the Hugging "
        "Face Hub, tens of gigabytes, where it is nowhere on this machine. Other models never are.",
    )
    device: str = Field(
        default="auto",
        description="`auto` takes CUDA where there is one, else the CPU; or `cpu`, `cuda`, `cuda:1`. Of "
        "several GPUs, as in `cuda:0,cuda:1`, each model has one: that with the most free memory.",
    )
    dtype: Dtype = Field(
        default="auto",
        description="Precision of the weights: `bfloat16`, `float32`, or `auto`: what the checkpoint says, "
        "but float32 on a CPU without bfloat16 where that leaves a quarter of the free memory. float16 is "
        "not offered: Gemma 4 overflows in it.",
    )
    cuda_graphs: bool = Field(
        default=True,
        description="Whether a GPU is given each decode step as one CUDA graph, see [gpu.md](gpu.md). What a "
        "graph cannot hold is decoded without; on a CPU nothing changes.",
    )
    max_new_tokens: int = Field(
        default=8192, ge=1, description="The most tokens that a request may ask for in one answer."
    )
    max_thinking_tokens: int = Field(
        default=1024,
        ge=1,
        description="The most tokens of thought that a request may ask for in one answer, "
        "and what it gets where it asks for thinking and not for a number.",
    )
    max_batch_size: int = Field(
        default=8, ge=1, description="The most prompts that the model works on at the same time."
    )
    # Sixty tokens a second write the longest answer that a request may ask for in less than half of it, and
    # clients and proxies rarely wait longer.
    max_seconds: float = Field(
        default=600,
        ge=0,
        description="The longest that a step may wait for its answers; 0 for no limit. Those that are not "
        "ready by then end where they stand, with finish_reason `deadline`. For `Gemma4HF`, whose calls are "
        "a program's own, it holds only where it is set.",
    )
    max_waiting: int = Field(
        default=512,
        ge=1,
        description="The most prompts of all requests that may wait for their answers at the same time. "
        "More are refused as busy, over HTTP with status 503.",
    )
    max_waiting_bytes: int = Field(
        default=2_000_000_000,
        ge=1,
        description="The most bytes of pixels, three for each, that may wait with those prompts. The same "
        "holds for the bodies of requests that `gemma4-block serve` has read and not answered.",
    )
    max_requests: int = Field(
        default=64,
        ge=1,
        description="The most requests that `gemma4-block serve` works on at the same time; more get status "
        "503.",
    )
    max_request_bytes: int = Field(
        default=100_000_000,
        ge=1,
        description="The longest body of a request that `gemma4-block serve` reads; a longer one gets "
        "status 413.",
    )
    keep_alive: Annotated[KeepAlive, Field(union_mode="left_to_right")] = Field(
        default="forever",
        description="How many seconds a model that nobody asks stays loaded, or `forever`; 0 gives its "
        "memory back after every call. A step may ask for less.",
    )
    max_loading_seconds: float = Field(
        default=60.0,
        ge=0,
        description="The longest that a step waits for a model that is loading; 0 for no limit. Then it is "
        "refused, the loading goes on, and whoever asks again later finds the model.",
    )
    max_adapters: int = Field(
        default=16,
        ge=1,
        description="The most adapters that stay loaded beside one model; those that nobody uses and whose "
        "last use is longest ago make room for others.",
    )
    vision_cache_bytes: int = Field(
        default=256_000_000,
        ge=0,
        description="The most memory for what the model saw in images, so that it need not look again; 0 for "
        "none.",
    )
    prefix_cache_bytes: int = Field(
        default=512_000_000,
        ge=0,
        description="The most memory for the beginnings of prompts, up to their last image, so that another "
        "question about the same images starts where the last began; 0 for none.",
    )
    guessed_tokens: int = Field(
        default=0,
        ge=0,
        le=7,
        description="On a CPU, the most tokens of an answer that are guessed and then checked in one pass, 0 "
        "to 7; 0 for none. Guesses come from the prompt, the answer itself, and the last answer to the same "
        "question. Worth it where answers repeat those: 7.",
    )
    max_prompt_characters: int = Field(
        default=20_000, ge=1, description="The longest prompt and system prompt that a request may send."
    )
    max_classes: int = Field(
        default=256, ge=1, description="The most classes that a request may ask for at once."
    )
    max_schema_characters: int = Field(
        default=20_000, ge=1, description="The longest JSON Schema that an answer can be held to."
    )
    max_images_per_prompt: int = Field(
        default=32, ge=1, description="The most images that a request may ask about in one question."
    )
    max_image_pixels: int = Field(
        default=100_000_000, ge=1, description="The largest image, width times height, that is looked at."
    )
    servers: Annotated[tuple[Server, ...], NoDecode] = Field(
        default=(),
        description="Models that servers run, as JSON or the path of a file with it, see "
        "[servers.md](servers.md). None by default: every model runs in this process.",
    )
    token: SecretStr | None = Field(
        default=None,
        min_length=1,
        description="What requests to `gemma4-block serve` must bring as `Authorization: Bearer`; health "
        "needs none. With `--token` and without this variable one is made up and printed at the start.",
    )
    log_level: LogLevel | None = Field(
        default=None,
        description="The least that the plugin logs: `DEBUG`, `INFO`, `WARNING` or `ERROR`. With `DEBUG` "
        "every call says where its time went. By default the program that runs the plugin decides.",
    )

    @field_validator("model_roots", mode="before")
    @classmethod
    def _split_roots(cls, value: object) -> object:
        if isinstance(value, str):
            parts = [part for part in value.split(os.pathsep) if part.strip()]
            return tuple(Path(os.path.expanduser(part)).absolute() for part in parts)  # noqa: PTH111 - no error
        return value

    @field_validator("keep_alive")
    @classmethod
    def _check_keep_alive(cls, value: KeepAlive) -> KeepAlive:
        if value != "forever" and not value >= 0:
            raise ValueError("it must be a number of seconds, 0 or more, or forever")
        return value

    @field_validator("servers", mode="before")
    @classmethod
    def _read_servers(cls, value: object) -> object:
        return parse_servers(value) if isinstance(value, str) else value

    @field_validator("device")
    @classmethod
    def _check_device(cls, value: str) -> str:
        # Whether there is such a GPU is known where torch is.
        if not _DEVICE.fullmatch(value):
            raise ValueError("it must be auto, cpu, cuda, cuda:N, or several GPUs as in cuda:0,cuda:1")
        return value


class GenerationDefaults(BaseSettings):
    """The generation options where a call does not say. Prefix: `INFERENCE_MODELS_GEMMA4_DEFAULT_`.

    The names and values are those of inference_models, so that an environment that works there works here.
    Source: inference_models/configuration.py, version 0.39.5.
    """

    model_config = SettingsConfigDict(
        env_prefix="INFERENCE_MODELS_GEMMA4_DEFAULT_", extra="forbid", frozen=True
    )

    max_new_tokens: int = Field(default=DEFAULT_MAX_NEW_TOKENS, ge=1, description="Most tokens of an answer.")
    do_sample: bool = Field(default=False, description="Draw tokens by chance.")
    enable_thinking: bool = Field(default=False, description="Let the model think before it answers.")
    skip_special_tokens: bool = Field(default=True, description="Leave control tokens out of texts.")
    temperature: float = Field(default=1.0, gt=0, description="Variety, where tokens are drawn by chance.")
    top_p: float = Field(default=0.95, gt=0, le=1, description="Share of likely tokens to draw from.")
    top_k: int = Field(default=64, ge=1, description="Number of likely tokens to draw from.")
    image_prompt: str = Field(
        default="Describe what you see in this image.", description="Asked where a call has no prompt."
    )
    system_prompt: str = Field(
        default="You are Gemma 4, a helpful multimodal assistant. Answer clearly and accurately.",
        description="System turn where a call has none (Gemma4HF.prompt only).",
    )


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """Return the operator's settings, read from the environment at the first call.

    Returns:
        The same object at every call.

    Raises:
        ConfigurationError: A variable is malformed, or is none of ours in spite of its prefix.

    """
    known = [f"{_PREFIX}{name.upper()}" for name in Settings.model_fields]
    unknown = sorted(name for name in os.environ if name.startswith(_PREFIX) and name not in known)
    if unknown:
        # A misspelt limit would be no limit.
        raise ConfigurationError(
            f"Environment: {', '.join(unknown)} is unknown; known are {', '.join(known)}. "
            "Correct or unset it."
        )
    try:
        return Settings()
    except ValidationError as error:
        raise _refused(_PREFIX, error) from error


@lru_cache(maxsize=1)
def get_generation_defaults() -> GenerationDefaults:
    """Return the generation defaults, read from the environment at the first call.

    Returns:
        The same object at every call.

    Raises:
        ConfigurationError: A variable is malformed.

    """
    try:
        return GenerationDefaults()
    except ValidationError as error:
        raise _refused("INFERENCE_MODELS_GEMMA4_DEFAULT_", error) from error


def _refused(prefix: str, error: ValidationError) -> ConfigurationError:
    details: list[Any] = list(error.errors())
    problems = [
        f"{prefix}{str(detail['loc'][0]).upper()}{_show(detail)}: "
        f"{detail['msg'].removeprefix('Value error, ')}"
        for detail in details
    ]
    return ConfigurationError(f"Environment: {'; '.join(problems)}. Correct or unset it.")


def _show(detail: Any) -> str:  # noqa: ANN401 - of pydantic
    return "" if detail["loc"][0] in _UNSEEN else f" is {detail['input']!r}"
