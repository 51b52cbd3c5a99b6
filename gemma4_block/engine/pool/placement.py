"""Decide where a model is loaded, and what must be closed for it: pure functions of given numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gemma4_block.contract import ModelReference
from gemma4_block.settings import Settings

if TYPE_CHECKING:
    # Its room imports torch, which waits until the first model is asked for.
    from gemma4_block.engine.footprint import Footprint


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """What a model would take on one device.

    Attributes:
        device: As torch names it.
        footprint: The estimate.
        settings: The operator's, with that device and the precision that was estimated.

    """

    device: str
    footprint: "Footprint"
    settings: Settings


@dataclass(frozen=True, kw_only=True, slots=True)
class Holding:
    """What another model of this process has of a device.

    Attributes:
        reference: Which model.
        device: As torch names it.
        needed: All that it may take, in bytes.
        taken: What of that the system does not count as free any more.
        is_idle: Whether nobody uses it.
        is_changing: Whether it is loading or closing, so that nobody knows how much of it is taken.
        used_at: When it was used last.

    """

    reference: ModelReference
    device: str
    needed: int
    taken: int
    is_idle: bool
    is_changing: bool
    used_at: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Enter:
    """There is room.

    Attributes:
        claim: On the device that has it.

    """

    claim: Claim


@dataclass(frozen=True, kw_only=True, slots=True)
class Close:
    """There is room once this model is closed, or it and others.

    Attributes:
        reference: The one that was used least recently.

    """

    reference: ModelReference


@dataclass(frozen=True, kw_only=True, slots=True)
class Wait:
    """There is room once other models are loaded or not used any more.

    Attributes:
        claim: On the device that will have it.
        left: Bytes that it has now.

    """

    claim: Claim
    left: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Refuse:
    """There never is.

    Attributes:
        claim: On the device that would have most.
        most: Bytes that it has with every model of this process closed.

    """

    claim: Claim
    most: int


Decision = Enter | Close | Wait | Refuse


@dataclass(frozen=True, kw_only=True, slots=True)
class _Device:
    """A device as a claim finds it.

    Attributes:
        claim: On this device.
        left: Bytes that no model may take; infinite where free memory is unknown.
        holdings: On this device.

    """

    claim: Claim
    left: float
    holdings: tuple[Holding, ...]

    @property
    def needed(self) -> int:
        """What the claim needs."""
        return self.claim.footprint.needed

    @property
    def most(self) -> float:
        """What would be left with every model closed; no less than that where one is changing."""
        return self.left + sum(one.needed * (2 if one.is_changing else 1) for one in self.holdings)

    def find_victims(self) -> list[Holding]:
        """Return whom to close, those first that were used least recently; none where that is not enough.

        None either while a model is loading or closing: how much of its need is taken already is not known,
        so that too many might be closed.
        """
        if any(one.is_changing for one in self.holdings):
            return []
        left, victims = self.left, []
        for one in sorted(self.holdings, key=lambda one: one.used_at):
            if one.is_idle and left < self.needed:
                victims.append(one)
                left += one.needed
        return victims if left >= self.needed else []


def decide(claims: Sequence[Claim], free: Mapping[str, int | None], holdings: Sequence[Holding]) -> Decision:
    """Decide what a model that is asked for must wait for, if for anything.

    Memory that a model has claimed and not taken yet is not free: two that load at once, or one whose caches
    are still empty, do not count the same bytes.

    Args:
        claims: Of the model, one for each device that it may be on; at least one.
        free: For each of these devices, bytes that the system counts as free; None where it does not say.
        holdings: Of all other models of this process.

    Returns:
        To enter, on the device with the most left; else to close one that nobody uses, where that helps, on
        the device whose models were not used for longest; else to wait, or to refuse.

    """
    devices = [_look(claim, free[claim.device], holdings) for claim in claims]
    fitting = [device for device in devices if device.left >= device.needed]
    if fitting:
        return Enter(claim=max(fitting, key=lambda device: device.left).claim)
    victims = [found for device in devices if (found := device.find_victims())]
    if victims:
        return Close(reference=min(victims, key=lambda found: found[-1].used_at)[0].reference)
    roomiest = max(devices, key=lambda device: device.most)
    if roomiest.most >= roomiest.needed:
        return Wait(claim=roomiest.claim, left=max(0, round(roomiest.left)))
    return Refuse(claim=roomiest.claim, most=max(0, round(roomiest.most)))


def _look(claim: Claim, free_bytes: int | None, holdings: Sequence[Holding]) -> _Device:
    own = tuple(one for one in holdings if one.device == claim.device)
    promised = sum(one.needed - one.taken for one in own)
    left = float("inf") if free_bytes is None else float(free_bytes - promised)
    return _Device(claim=claim, left=left, holdings=own)
