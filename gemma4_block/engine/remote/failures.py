"""Turn what goes wrong between here and a server into the errors of this package."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import openai
from pydantic import ValidationError

from gemma4_block.errors import EngineError, PromptError
from gemma4_block.servers import Server

# The answers of a server that has too much to do or is about to be back.
_BUSY = frozenset({429, 503})
# Those of what stands before a server that gives none.
_UNREACHED = frozenset({502, 504})
# vLLM answers so while it goes, once its engine has died; another one may be well.
_FAILED = 500
_REFUSED_KEY = frozenset({401, 403})
# The prompt itself is at fault: it is wrong, too large, or asks for what the server does not do.
_REFUSED_PROMPT = frozenset({400, 413, 422})
_SHOWN_CHARACTERS = 300
_MOST_WAIT_S = 30.0


class NoAnswerError(EngineError):
    """A request that got no whole answer, of which nothing was used, and that may be sent again.

    Args:
        message: What happened.
        retry_after_s: How long the server wants to be left alone, in seconds; None where it does not say.

    """

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class BusyServerError(NoAnswerError):
    """The server was reached, and refused the request because it has too much to do or is starting."""


class PublicPeerError(Exception):
    """A name that was to be spoken to without encryption, and leads outside of private networks."""


@contextmanager
def explained(server: Server, url: str, key: str | None) -> Iterator[None]:
    """Raise the errors of this package for those of the client library.

    Args:
        server: Whose request it is.
        url: Which of its URLs was asked.
        key: Never repeated, whatever the server says.

    Yields:
        Once, for the request.

    Raises:
        PromptError: The server refuses this prompt.
        NoAnswerError: It may be sent again.
        EngineError: It may not.

    """
    where = f"{server.model_id} on {url}"
    try:
        yield
    except openai.APIStatusError as error:
        raise _explain_status(error, server, where, key) from None
    except openai.APIConnectionError as error:
        cause = error.__cause__
        if isinstance(cause, PublicPeerError):
            raise EngineError(f"{where}: {cause}") from None
        raise NoAnswerError(_lost(where, error if cause is None else cause)) from None
    except openai.APIError as error:
        raise _explain_event(error, where, key) from None
    except httpx.HTTPError as error:
        raise NoAnswerError(_lost(where, error)) from None
    except (json.JSONDecodeError, ValidationError, UnicodeDecodeError) as error:
        raise EngineError(
            f"{where} answers in another form than OpenAI's ({type(error).__name__}). Correct the URL in "
            "GEMMA4_BLOCK_SERVERS; it ends before /chat/completions, mostly in /v1."
        ) from None


def _explain_status(
    error: openai.APIStatusError, server: Server, where: str, key: str | None
) -> EngineError | PromptError:
    status = error.status_code
    if status in _BUSY | _UNREACHED:
        return _explain_no_answer(status, where, _read_retry_after(error.response))
    if status in _REFUSED_KEY:
        # What it says may repeat the key.
        fix = (
            "Name the variable that holds one in key_env"
            if server.key_env is None
            else f"Correct {server.key_env}"
        )
        return EngineError(f"{where} refuses the key (status {status}). {fix}.")
    said = _quote(error.message, key)
    if status in _REFUSED_PROMPT:
        return PromptError(
            f"{where} refuses the prompt: {said}. Shorten the prompt, lower image_seq_length or "
            "max_new_tokens, or start the server with higher limits."
        )
    if 300 <= status < 400:  # noqa: PLR2004 - redirects
        return EngineError(
            f"{where} redirects to another address, which is not followed. Put the right URL into "
            "GEMMA4_BLOCK_SERVERS."
        )
    if status == 404:  # noqa: PLR2004 - not found
        return EngineError(
            f"{where} has no model {server.model}, or is no server of models: {said}. Correct model or urls "
            "in GEMMA4_BLOCK_SERVERS."
        )
    failed = f"{where} failed (status {status}): {said}. Look into its log."
    return NoAnswerError(failed) if status == _FAILED else EngineError(failed)


def _explain_no_answer(status: int, where: str, retry_after_s: float | None) -> NoAnswerError:
    if status in _BUSY:
        message = f"{where} is busy or starting (status {status}). Ask later, or add servers."
        return BusyServerError(message, retry_after_s=retry_after_s)
    message = f"What stands before {where} gets no answer from it (status {status}). Look into its log."
    return NoAnswerError(message, retry_after_s=retry_after_s)


def _explain_event(error: openai.APIError, where: str, key: str | None) -> EngineError | PromptError:
    """Explain an error that came in the middle of a stream."""
    said = _quote(error.message, key)
    if str(error.code) in map(str, _REFUSED_PROMPT):
        return PromptError(f"{where} refuses the prompt: {said}.")
    return NoAnswerError(f"{where} broke off an answer: {said}. Look into its log.")


def _lost(where: str, error: BaseException) -> str:
    reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return f"{where} cannot be reached ({reason}). Start it, or correct GEMMA4_BLOCK_SERVERS."


def _quote(text: str, key: str | None) -> str:
    line = " ".join(text.split())
    if key is not None:
        line = line.replace(key, "***")
    return line if len(line) <= _SHOWN_CHARACTERS else f"{line[:_SHOWN_CHARACTERS]}…"


def _read_retry_after(response: httpx.Response) -> float | None:
    try:
        seconds = float(response.headers.get("retry-after", ""))
    except ValueError:
        # A date, or nothing.
        return None
    return min(max(seconds, 0.0), _MOST_WAIT_S)
