"""Keep out whom the operator does not mean: other names, pages of other sites, and who has no token."""

import ipaddress
from dataclasses import dataclass
from hmac import compare_digest
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from gemma4_block.hosting.health import HEALTH_PATH, READINESS_PATH
from gemma4_block.hosting.messages import send_message

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

ANY: Final = "*"
_AUTHORIZATION: Final = b"authorization"
_OPEN_PATHS: Final = (HEALTH_PATH, READINESS_PATH)


@dataclass(frozen=True, kw_only=True, slots=True)
class Access:
    """Who may ask.

    Attributes:
        names: Under which the server may be addressed, beside all addresses; with `*` under any.
        origins: Of pages that may ask in a browser, beside the server's own; with `*` any.
        token: What a request must bring as `Authorization: Bearer`; None for nothing.

    """

    names: frozenset[str]
    origins: frozenset[str]
    token: str | None = None


class ChecksAccess:
    """ASGI middleware: replies 421, 403 or 401 to whom the operator does not mean. Health stays open.

    Args:
        app: Replies to the others.
        access: Who they are.

    """

    def __init__(self, app: "ASGIApp", access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Serve one connection."""
        if scope["type"] == "http" and scope["path"] not in _OPEN_PATHS:
            host, origin = _read_header(scope, b"host"), _read_header(scope, b"origin")
            if not self._is_named(host):
                # A page whose name leads to this machine would otherwise be of the same site as the server.
                message = (
                    f"This server is not called {host!r}. Its operator allows a name with --allowed-host."
                )
                await send_message(send, 421, message)
                return
            if origin is not None and not self._may_ask(origin, host):
                # A browser sends some requests without asking, and only keeps the reply from the page.
                await send_message(send, 403, f"Pages of {origin} may not ask. ALLOW_ORIGINS names who may.")
                return
            # A browser asks for permission without a token.
            if self._access.token is not None and scope["method"] != "OPTIONS":
                if not self._has_token(scope):
                    message = "The token is missing or wrong. Send it as Authorization: Bearer TOKEN."
                    await send_message(send, 401, message, headers=((b"www-authenticate", b"Bearer"),))
                    return
                # The host would take it for a key of its own, and send it on.
                scope = {
                    **scope,
                    "headers": [pair for pair in scope["headers"] if pair[0] != _AUTHORIZATION],
                }
        await self._app(scope, receive, send)

    def _is_named(self, host: str | None) -> bool:
        if ANY in self._access.names:
            return True
        name = None if host is None else _read_name(host)
        # Whoever has to be kept out needs a name of their own.
        return name is not None and (name in self._access.names or _is_address(name))

    def _may_ask(self, origin: str, host: str | None) -> bool:
        allowed = self._access.origins
        return ANY in allowed or origin in allowed or origin in (f"http://{host}", f"https://{host}")

    def _has_token(self, scope: "Scope") -> bool:
        given = _read_header(scope, _AUTHORIZATION)
        assert self._access.token is not None, "asked only where there is one"
        # In the same time wherever the first difference is.
        return given is not None and compare_digest(
            given.encode("latin-1"), f"Bearer {self._access.token}".encode()
        )


def _read_header(scope: "Scope", name: bytes) -> str | None:
    """Return a header; None where it is missing or there twice."""
    values: list[bytes] = [value for header, value in scope["headers"] if header == name]
    return values[0].decode("latin-1") if len(values) == 1 else None


def _read_name(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
