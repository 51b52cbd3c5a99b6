"""Which models run on servers, as the operator says in JSON; requests choose ids and nothing else."""

import ipaddress
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from gemma4_block.contract import IMAGE_SEQ_LENGTHS, ImageSeqLength, Quantization

# Source: RFC 1122, RFC 1918, RFC 6598, RFC 4291 and RFC 4193. Link-local addresses are left out, because
# clouds answer there about the machine itself.
_PRIVATE_NETWORKS = tuple(
    ipaddress.ip_network(text)
    for text in (
        "127.0.0.0/8",
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "100.64.0.0/10",
        "::1/128",
        "fc00::/7",
    )
)
# Capital letters only: who writes the key itself there is refused before anything could repeat it.
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")


@dataclass(frozen=True, kw_only=True, slots=True)
class Server:
    """A model that OpenAI-compatible servers run for this process.

    Attributes:
        model_id: What workflows call it.
        urls: Where it runs, each ending before `/chat/completions`; later ones are asked where earlier ones
            give no answer.
        model: What the servers call it.
        key_env: The environment variable that holds the key; None where none is needed.
        quantization: What a request may ask for besides `auto`; None for nothing.
        image_seq_lengths: Visual token budgets that the model was trained for, smallest first.
        max_in_flight: How many requests of this process it gets at the same time.

    """

    model_id: str
    urls: tuple[str, ...]
    model: str
    key_env: str | None = None
    quantization: Quantization | None = None
    image_seq_lengths: tuple[ImageSeqLength, ...] = IMAGE_SEQ_LENGTHS
    max_in_flight: int = 32


def parse_servers(given: str) -> tuple[Server, ...]:
    """Read what the operator wrote.

    Args:
        given: JSON that begins with `{`, or the path of a file with it.

    Returns:
        One entry for each model id, in order.

    Raises:
        ValueError: It is malformed; says at which place, and repeats no value that may be a secret.

    """
    text = given.strip()
    source = "the JSON"
    if not text.startswith("{"):
        source = text
        text = _read_file(text)
    try:
        entries = _MAP.validate_python(json.loads(text, object_pairs_hook=_refuse_doubles), strict=False)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{source} is no JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        ) from None
    except ValidationError as error:
        details = error.errors()
        places = [detail["loc"] for detail in details]
        problems = [
            f"at {_place(detail['loc'])}: {_explain(detail['type'], detail['msg'])}"
            for detail in details
            # A list whose entries are wrong is also called too short.
            if not any(place[: len(detail["loc"])] == detail["loc"] != place for place in places)
        ]
        # What was given may hold a key in the wrong place, and so may the error of pydantic.
        raise ValueError(f"{source} cannot be used, {'; '.join(problems)}") from None
    return tuple(
        Server(
            model_id=model_id,
            urls=entry.urls,
            model=model_id if entry.model is None else entry.model,
            key_env=entry.key_env,
            quantization=entry.quantization,
            image_seq_lengths=entry.image_seq_lengths,
            max_in_flight=entry.max_in_flight,
        )
        for model_id, entry in entries.items()
    )


def is_private_address(text: str) -> bool:
    """Say whether an address is of this machine or of a private network.

    >>> [is_private_address(text) for text in ("127.0.0.1", "10.0.0.7", "::1", "169.254.169.254", "8.8.8.8")]
    [True, True, True, False, False]
    """
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return any((address if mapped is None else mapped) in network for network in _PRIVATE_NETWORKS)


def check_variable(name: str) -> str:
    """Return the name of a variable that holds a key.

    Args:
        name: What the operator wrote.

    Returns:
        The same.

    Raises:
        ValueError: It is no such name, or the variable is not set; repeats nothing, since it may be the key.

    """
    if not _VARIABLE.fullmatch(name):
        raise ValueError(
            "key_env must be the name of an environment variable, of capital letters, digits and _; "
            "not the key itself"
        )
    if not os.environ.get(name, "").strip():
        raise ValueError("the environment variable that key_env names is not set")
    return name


def _read_file(name: str) -> str:
    try:
        return Path(name).expanduser().read_text(encoding="utf-8").strip()
    except (OSError, ValueError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) else type(error).__name__
        raise ValueError(
            f"it is neither JSON that begins with {{ nor the path of a file that can be read ({reason})"
        ) from None


def _refuse_doubles(pairs: list[tuple[str, object]]) -> dict[str, object]:
    names = [name for name, _ in pairs]
    doubles = sorted({name for name in names if names.count(name) > 1})
    if doubles:
        raise ValueError(f"the JSON names {', '.join(map(json.dumps, doubles))} twice in one object")
    return dict(pairs)


def _check_id(name: str) -> str:
    if not name.strip() or not name.isprintable() or "://" in name or name.startswith("/"):
        raise ValueError("a model id is a name such as gemma-4-e2b-it or my-project/3")
    return name


def _check_url(url: str) -> str:
    parts = _split(url)
    if parts.username is not None or parts.password is not None:
        raise ValueError("the URL holds a user name or a password; put a key into a variable, see key_env")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("the URL must be http://HOST/v1 or https://HOST/v1")
    if parts.query or parts.fragment:
        raise ValueError("the URL must end before ? and #")
    # A name is looked up when it is connected to, and is refused there where that leads outside.
    if parts.scheme == "http" and _is_address(parts.hostname) and not is_private_address(parts.hostname):
        raise ValueError(
            f"http://{parts.hostname} is no address of this machine or of a private network; use https"
        )
    return url.rstrip("/")


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ValueError("the URL has no valid host or port") from None
    if not url.isascii() or any(letter.isspace() for letter in url):
        raise ValueError("the URL must be of visible ASCII letters")
    return parts


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _check_lengths(lengths: tuple[ImageSeqLength, ...]) -> tuple[ImageSeqLength, ...]:
    return tuple(sorted(set(lengths)))


# A frozen dataclass with slots shows its defaults only on an object.
_DEFAULTS = Server(model_id="", urls=(), model="")


class _Entry(BaseModel):
    """One entry, as the operator writes it."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    urls: Annotated[tuple[Annotated[str, AfterValidator(_check_url)], ...], Field(min_length=1)]
    model: Annotated[str, Field(min_length=1)] | None = None
    key_env: Annotated[str, AfterValidator(check_variable)] | None = None
    quantization: Literal["none", "nf4"] | None = None
    image_seq_lengths: Annotated[
        tuple[ImageSeqLength, ...], Field(min_length=1), AfterValidator(_check_lengths)
    ] = _DEFAULTS.image_seq_lengths
    max_in_flight: Annotated[int, Field(ge=1, le=1024)] = _DEFAULTS.max_in_flight


_MAP = TypeAdapter(dict[Annotated[str, AfterValidator(_check_id)], _Entry])


def _place(location: tuple[int | str, ...]) -> str:
    if not location:
        return "the top"
    model_id, *rest = location
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in rest if part != "[key]")
    return json.dumps(model_id) + path


def _explain(kind: str, message: str) -> str:
    if kind == "extra_forbidden":
        return f"it is unknown; known are {', '.join(_Entry.model_fields)}"
    return message.removeprefix("Value error, ")
