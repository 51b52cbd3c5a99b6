"""Ask a real server everything at once for a while: what became of it, and whether that is well."""

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np

from tests.server_process import started
from tests.soak.callers import BAD_FATES, Record, call_until, send
from tests.soak.shots import MAX_REQUEST_BYTES, TOKEN, bad_shots, draw_shots, good_shots
from tests.soak.vitals import Vitals, Watcher, find_slope

# Caches fill, threads start and the allocator finds its size in the first part.
_WARM_UP_SHARE = 0.4
_SETTLES_S = 5.0
# Less than the callers, so that some are told that the server is busy.
_MAX_REQUESTS = 12
_SETTINGS = {
    "GEMMA4_BLOCK_TOKEN": TOKEN,
    "GEMMA4_BLOCK_MAX_REQUESTS": str(_MAX_REQUESTS),
    "GEMMA4_BLOCK_MAX_REQUEST_BYTES": str(MAX_REQUEST_BYTES),
}
# Above the noise of the allocator; a body or picture that stays for each request is ten times as much.
MOST_GROWTH_MB = 150.0


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a soak.

    Attributes:
        record: Of all requests.
        before: The server at rest, after one round of good requests.
        after: The server at rest again.
        looks: The server at work, after the warm-up.
        slope: Megabytes that it grew by in a minute, after the warm-up.

    """

    record: Record
    before: Vitals
    after: Vitals
    looks: list[Vitals]
    slope: float

    @property
    def growth(self) -> float:
        """Megabytes that it grew by from the end of the warm-up to the end."""
        return self.slope * (self.looks[-1].at_s - self.looks[0].at_s) / 60

    def find_faults(self) -> list[str]:
        """Return what is not well, in words."""
        fates = Counter[str]()
        for (_, fate), count in self.record.fates.items():
            fates[fate] += count
        faults = [f"{fates[fate]} requests: {fate}" for fate in BAD_FATES if fates[fate]]
        faults += self.record.examples
        if self.growth > MOST_GROWTH_MB:
            faults.append(f"memory grew by {self.growth:.0f} MB; {MOST_GROWTH_MB:.0f} are noise")
        # A connection may still be closing, and a thread of a pool come late.
        if self.after.descriptors > self.before.descriptors + 8:
            faults.append(f"descriptors: {self.before.descriptors} before, {self.after.descriptors} after")
        most = max(one.threads for one in self.looks)
        if self.after.threads > most or most > self.before.threads + 32:
            faults.append(
                f"threads: {self.before.threads} before, {most} at most, {self.after.threads} after"
            )
        if fates["right"] == 0 or fates["refused"] == 0 or fates["left"] == 0:
            faults.append("some of the requests were not tried")
        return faults

    def describe(self) -> str:
        """Return the table that is printed."""
        columns = ("right", "refused", "busy", "left", *BAD_FATES)
        kinds = sorted({kind for kind, _ in self.record.fates})
        rows = [(kind, *(self.record.fates[kind, fate] for fate in columns)) for kind in kinds]
        rows.append(("all", *(sum(row[place] for row in rows) for place in range(1, len(columns) + 1))))
        lines = [f"{'':32}" + "".join(f"{name:>9}" for name in columns)]
        lines += [f"{row[0]:32}" + "".join(f"{count or '':>9}" for count in row[1:]) for row in rows]
        p50, p99 = np.percentile(self.record.seconds, [50, 99])
        most = max(one.threads for one in self.looks)
        return "\n".join(
            [
                *lines,
                "",
                f"good requests   p50 {p50:.2f} s, p99 {p99:.2f} s",
                f"memory          {self.before.megabytes:.0f} MB before, {self.after.megabytes:.0f} MB after",
                f"                {self.slope:+.1f} MB a minute after the warm-up",
                f"threads         {self.before.threads} before, {most} at most, {self.after.threads} after",
                f"descriptors     {self.before.descriptors} before, {self.after.descriptors} after",
            ]
        )


def soak(folder: Path, *, seconds: float, callers: int, seed: int = 0) -> Outcome:
    """Ask a server for a while, from many callers at the same time.

    Args:
        folder: An empty one.
        seconds: How long.
        callers: How many.
        seed: Of what is asked when.

    Returns:
        What became of it.

    """
    good, bad, record = good_shots(), bad_shots(), Record()
    with started(folder, settings=_SETTINGS) as server, Watcher(server.process.pid) as watcher:
        # The model loads, and every kind of request has been there once.
        for shot in (*good, *bad):
            send(server.port, shot, record)
        time.sleep(_SETTLES_S)
        before = watcher.look()
        began = time.monotonic()
        with ThreadPoolExecutor(callers) as pool:
            draws = [draw_shots(Random(seed + place), good, bad) for place in range(callers)]
            calls = [pool.submit(call_until, server.port, began + seconds, draw, record) for draw in draws]
        ended = time.monotonic()
        for call in calls:
            call.result()
        time.sleep(_SETTLES_S)
        after = watcher.look()
    warm = began + _WARM_UP_SHARE * (ended - began)
    looks = [one for one in watcher.looks if warm <= one.at_s <= ended]
    return Outcome(record=record, before=before, after=after, looks=looks, slope=find_slope(looks))
