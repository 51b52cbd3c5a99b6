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
class Peak:
    """Memory that a stage took at most, and what was estimated, in bytes."""

    measured: int
    estimated: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Guesses:
    """Steps of an answer, and of the same answer to the same question again.

    Attributes:
        cpu: On the processor, where tokens are guessed.
        cuda: On the GPU with the same setting.

    """

    cpu: list[int]
    cuda: list[int]


@dataclass(frozen=True, kw_only=True, slots=True)
class FourBits:
    """How a model is in 4 bits on the GPU.

    Attributes:
        kinds: The last names of the layers that are.
        elsewhere: The layers that are outside of the language model's own.
        weights: Of what kinds their weights are: device and dtype.
        compute_dtypes: In which they multiply.

    """

    kinds: list[str]
    elsewhere: list[str]
    weights: list[str]
    compute_dtypes: list[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """All that was found.

    Attributes:
        uses: By what is used.
        counts: What a step takes, as `demo, graphs, rows: 4`.
        steps: How many different steps there were among 100 of one batch, by operations, shapes and the
            addresses that are written.
        operations: How many operations each of them has.
        looks: Kernels that reading a prompt took: with a picture of a video, with the next, in which hardly
            anything changed, and with one that is another.
        guesses: How many steps guessed tokens saved.
        peaks: By stage.
        four_bits: Of the demo.
        warnings: What the engine logged.

    """

    uses: dict[str, Use]
    counts: dict[str, Counts]
    steps: int
    operations: int
    looks: list[int]
    guesses: Guesses
    peaks: dict[str, Peak]
    four_bits: FourBits
    warnings: list[str]
