"""What the process with the pretended GPU found, for the tests that started it."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What came of one use of an engine.

    Attributes:
        texts: Answers with their thoughts and how they ended, in order.
        scores: All numbers of these answers, in order.

    """

    texts: list[str]
    scores: list[float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Use:
    """One use on every kind of device.

    Attributes:
        cpu: What is right.
        graphs: On the GPU.
        plain: There without graphs.
        replays: How many decode steps of `graphs` were replays.

    """

    cpu: Outcome
    graphs: Outcome
    plain: Outcome
    replays: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Counts:
    """What a decode step takes.

    Attributes:
        kernels: That the device ran, those of a graph included.
        launches: That the host gave it, a graph being one.
        waits: Of the host for the device.
        copies: From the host to the device.
        replays: Of graphs.

    """

    kernels: int
    launches: int
    waits: int
    copies: int
    replays: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Steps:
    """What was written in so many steps.

    Attributes:
        ids: Tokens of each answer.

    """

    ids: list[list[int]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Peak:
    """Memory that a stage took at most, and what was estimated, in bytes."""

    measured: int
    estimated: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """All that was found.

    Attributes:
        uses: By what is used.
        counts: By how the step is done, as `graphs, rows: 4`.
        steps: How many different steps there were among 100 of one batch, by operations, shapes and the
            addresses that are written.
        operations: How many operations each of them has.
        peaks: By stage.
        four_bits: What an engine in 4 bits answered, or why it could not.
        warnings: What the engine logged.

    """

    uses: dict[str, Use]
    counts: dict[str, Counts]
    steps: int
    operations: int
    peaks: dict[str, Peak]
    four_bits: str
    warnings: list[str]
