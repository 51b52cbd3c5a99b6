"""The callers of the soak: each sends one request after the other and keeps what became of it."""

import http.client
import json
import math
import re
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from typing import Literal

from tests.soak.shots import TOKEN, Shot

Fate = Literal["right", "refused", "busy", "left", "wrong", "500", "lost", "hung"]
"""`right` and `refused` as expected; `busy`: 503 with Retry-After; `left`: the client went; bad others."""

BAD_FATES: tuple[Fate, ...] = ("wrong", "500", "lost", "hung")
HUNG_AFTER_S = 90.0
_BUSY = 503
_BUSY_PAUSE_S = 0.5
_CONFIDENCE = re.compile(r'(?<=confidence": )[0-9.e-]+')
# In bfloat16, where sums in another order move the last bit of a logit.
_CONFIDENCE_NOISE = 0.01


@dataclass
class Record:
    """What became of all requests. For many threads.

    Attributes:
        fates: How often each was the fate of a kind of request.
        seconds: Of good requests that were answered.
        examples: What was bad, the first few.

    """

    fates: Counter[tuple[str, Fate]] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    examples: list[str] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock)

    def add(self, shot: Shot, fate: Fate, seconds: float, said: str) -> None:
        """Keep the fate of a request."""
        with self._lock:
            self.fates[shot.kind, fate] += 1
            if fate == "right":
                self.seconds.append(seconds)
            if fate in BAD_FATES and len(self.examples) < 20:
                self.examples.append(f"{shot.kind}: {fate}: {said[:500]}")


def call_until(port: int, ends: float, draw: Callable[[], Shot], record: Record) -> None:
    """Send requests to a server until a time of `time.monotonic`."""
    while time.monotonic() < ends:
        if send(port, draw(), record) == "busy":
            # Sooner than it is told, so that the server stays full.
            time.sleep(_BUSY_PAUSE_S)


def send(port: int, shot: Shot, record: Record) -> Fate:
    """Send one request, keep what became of it, and return that."""
    began = time.monotonic()
    fate, said = _try(port, shot)
    record.add(shot, fate, time.monotonic() - began, said)
    return fate


def _try(port: int, shot: Shot) -> tuple[Fate, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=HUNG_AFTER_S)
    headers = {
        "Content-Type": "application/json",
        "Content-Length": str(len(shot.body)),
        "Authorization": f"Bearer {TOKEN}",
        **shot.headers,
    }
    try:
        if shot.leaves_after_s is not None:
            sent = shot.body[: round(len(shot.body) * shot.sends_share)]
            connection.request("POST", shot.path, sent, headers)
            time.sleep(shot.leaves_after_s)
            return "left", ""
        connection.request("POST", shot.path, shot.body, headers)
        reply = connection.getresponse()
        return _judge(shot, reply.status, reply.getheader("Retry-After"), reply.read())
    except TimeoutError as error:
        return "hung", repr(error)
    except (OSError, http.client.HTTPException) as error:
        return "lost", repr(error)
    finally:
        connection.close()


def _judge(shot: Shot, status: int, retry_after: str | None, body: bytes) -> tuple[Fate, str]:
    said = f"{status} {body.decode(errors='replace')}"
    if status == _BUSY and retry_after is not None:
        return "busy", said
    if status >= 500:
        return "500", said
    if status != shot.status:
        return "wrong", said
    if status != 200:
        return "refused", said
    is_right = shot.outputs is None or _is_same(json.loads(body)["outputs"], shot.outputs)
    return ("right" if is_right else "wrong"), f"{said} instead of {shot.outputs}"


def _is_same(outputs: object, expected: object) -> bool:
    """Say whether all that is said is the same, but for the last digits of confidences."""
    said, wanted = (json.dumps(one).replace('\\"', '"') for one in (outputs, expected))
    pairs = zip(_CONFIDENCE.findall(said), _CONFIDENCE.findall(wanted), strict=True)
    return _CONFIDENCE.sub("", said) == _CONFIDENCE.sub("", wanted) and all(
        math.isclose(float(one), float(other), abs_tol=_CONFIDENCE_NOISE) for one, other in pairs
    )
