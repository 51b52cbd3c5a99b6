"""What a self-test finds."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One mechanism of the engine.

    Attributes:
        name: Of it.
        against: What its answers were compared with.
        compared: How many answers.
        different: The first that is not equal, expected and found; None where all are.

    """

    name: str
    against: str
    compared: int
    different: tuple[str, str] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Speed:
    """One row of the bench table.

    Attributes:
        name: What was asked.
        answers_per_s: Answers in a second.
        tokens_per_s: Output tokens in a second, of all answers together.
        stages: Milliseconds of each stage.

    """

    name: str
    answers_per_s: float
    tokens_per_s: float
    stages: dict[str, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """What the device gave.

    Attributes:
        estimated: What the engine is estimated to take of it, in bytes; None where nobody can tell.
        measured: The most that torch had of a GPU, or this process of main memory; None where unknown.

    """

    estimated: int | None
    measured: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Findings:
    """All of a self-test.

    Attributes:
        machine: Name and value of what figures depend on.
        checks: Of exactness.
        speeds: The bench table.
        memory: Against its estimate.
        seconds: That the self-test took.

    """

    machine: tuple[tuple[str, str], ...]
    checks: tuple[Check, ...]
    speeds: tuple[Speed, ...]
    memory: Memory
    seconds: float

    @property
    def are_equal(self) -> bool:
        """Whether every answer was the one that it was compared with."""
        return all(check.different is None for check in self.checks)
