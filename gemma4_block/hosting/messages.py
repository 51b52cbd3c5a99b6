"""Reply to a request without the host, in the form of its own errors."""

import json
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from starlette.types import Send


RETRY_AFTER: Final = (b"retry-after", b"5")
"""When what is busy may have a place again, in seconds: most answers take less. Our choice."""


async def send_message(
    send: "Send", status: int, message: str, *, headers: tuple[tuple[bytes, bytes], ...] = ()
) -> None:
    """Reply with a status and a message for people.

    Args:
        send: Of the connection.
        status: Of HTTP.
        message: Why.
        headers: More of them, with names in small letters.

    """
    await send_json(send, status, {"message": message}, headers=headers)


async def send_json(
    send: "Send", status: int, body: dict[str, str], *, headers: tuple[tuple[bytes, bytes], ...] = ()
) -> None:
    """Reply with JSON.

    Args:
        send: Of the connection.
        status: Of HTTP.
        body: What to say.
        headers: More of them, with names in small letters.

    """
    await send_content(send, status, json.dumps(body).encode(), headers=headers)


async def send_content(
    send: "Send", status: int, content: bytes, *, headers: tuple[tuple[bytes, bytes], ...] = ()
) -> None:
    """Reply with JSON that is written already.

    Args:
        send: Of the connection.
        status: Of HTTP.
        content: The JSON.
        headers: More of them, with names in small letters.

    """
    basic = (b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*basic, *headers]})
    await send({"type": "http.response.body", "body": content})
