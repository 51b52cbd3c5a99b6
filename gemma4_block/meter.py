"""What is counted for an operator's monitoring: by nobody, until a host with an endpoint for it asks."""

from typing import Literal

Outcome = Literal["loaded", "failed"]
Cache = Literal["vision", "prefix"]
"""`vision`: what the model saw in images; `prefix`: the beginnings of prompts."""


class Meter:
    """Learns of what happens, and counts nothing; who counts overrides its methods.

    They are called from many threads and within the model's own, so they must be quick and must not raise. No
    prompt, image or answer is given to them, and no name of a model that was not found.
    """

    def note_load(self, model: str, outcome: Outcome, seconds: float) -> None:
        """A model was loaded, or could not be."""

    def note_close(self, model: str) -> None:
        """A model was closed, and its memory given back."""

    def note_answers(self, prompts: int, input_tokens: int, output_tokens: int) -> None:
        """A call ended with so many answers, for so many tokens that were read and written."""

    def note_refusal(self, kind: str, count: int = 1) -> None:
        """Requests or prompts were refused or failed.

        Args:
            kind: Name of the error's class.
            count: How many.

        """

    def note_pass(self, stage: str, rows: int, seconds: float) -> None:
        """The model, or what is around it, worked on so many images, prompts or sequences at once."""

    def note_lookup(self, cache: Cache, *, is_hit: bool) -> None:
        """A cache was asked."""

    def note_running(self, change: int) -> None:
        """So many more sequences are being written, or fewer where it is negative."""


class _Current:
    """The meter of this process, which a host sets once."""

    def __init__(self) -> None:
        self.meter = Meter()


_CURRENT = _Current()


def get_meter() -> Meter:
    """Return what counts in this process."""
    return _CURRENT.meter


def use_meter(meter: Meter) -> None:
    """Have a meter learn of all that happens in this process from now on."""
    _CURRENT.meter = meter
