"""Ask a running server of ours what only its operator may."""

import json
from http import HTTPStatus
from typing import Annotated, Final
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urlsplit
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

import typer

from gemma4_block.errors import ConfigurationError, EngineError
from gemma4_block.hosting import ENGINES_PATH, ClosingReport, EnginesReport
from gemma4_block.settings import get_settings

DEFAULT_ADDRESS: Final = "http://127.0.0.1:9001"
Address = Annotated[
    str, typer.Option(help="Where the server listens, on this machine; GEMMA4_BLOCK_TOKEN is sent along.")
]

# Closing waits for the memory to be free.
_TIMEOUT_S: Final = 60.0


class _RefusesRedirects(HTTPRedirectHandler):
    """The token goes to the server that was named, and to no other."""

    def redirect_request(self, *_: object) -> None:
        return None


def ask_for_engines(address: str) -> EnginesReport:
    """Return the engines of a server.

    Args:
        address: Its URL.

    Returns:
        Its engines, in the order of asking.

    Raises:
        ConfigurationError: The address is no URL of HTTP.
        EngineError: No server of ours answers there, or it refuses.

    """
    return EnginesReport.model_validate_json(_send("GET", address, ENGINES_PATH))


def ask_to_close(address: str, model: str) -> ClosingReport:
    """Have a server close the engines of a model, and wait until those that are idle are closed.

    Args:
        address: Its URL.
        model: As the list of engines calls it.

    Returns:
        How many there were.

    Raises:
        ConfigurationError: The address is no URL of HTTP.
        EngineError: No server of ours answers there, or it has no such engine.

    """
    path = f"{ENGINES_PATH}?{urlencode({'model': model})}"
    return ClosingReport.model_validate_json(_send("DELETE", address, path))


def _send(method: str, address: str, path: str) -> bytes:
    if urlsplit(address).scheme not in ("http", "https"):
        raise ConfigurationError(f"--address is {address!r}; write it as in {DEFAULT_ADDRESS}.")
    request = Request(address.rstrip("/") + path, method=method)  # noqa: S310 - checked above
    token = get_settings().token
    if token is not None:
        request.add_header("Authorization", f"Bearer {token.get_secret_value()}")
    opener = build_opener(ProxyHandler({}), _RefusesRedirects())
    try:
        with opener.open(request, timeout=_TIMEOUT_S) as reply:
            return bytes(reply.read())
    except HTTPError as error:
        raise EngineError(_explain(error, address)) from error
    except (URLError, OSError, ValueError) as error:
        raise EngineError(
            f"No server answers at {address}: {getattr(error, 'reason', error)}. Start one with "
            "gemma4-block serve, or name another with --address."
        ) from error


def _explain(error: HTTPError, address: str) -> str:
    if error.code == HTTPStatus.UNAUTHORIZED:
        return f"The server at {address} wants its token. Put it into GEMMA4_BLOCK_TOKEN."
    try:
        told = json.loads(error.read())
    except ValueError:
        told = None
    message = told.get("message") if isinstance(told, dict) else None
    if message is None:
        return f"The server at {address} is none of gemma4-block serve: it answers with status {error.code}."
    return f"The server at {address} says: {message}"
