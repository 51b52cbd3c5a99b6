"""What the rooms of the engine must know of a loaded adapter."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class AdapterTag:
    """A loaded adapter, as prompts carry it; its absence is the base.

    Attributes:
        name: Of its own for every load, so that what was kept for files that have changed is never found.
        shares_passes: Whether sequences with other adapters, or none, can be in one pass with its own.
        sees_as_base: Whether images look to it as they do to the base, so that their features are shared.

    """

    name: str
    shares_passes: bool
    sees_as_base: bool
