"""How an answer is generated."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from numbers import Integral, Real

from gemma4_block.errors import ConfigurationError

DEFAULT_MAX_NEW_TOKENS = 512
"""Source: inference_models/configuration.py, version 0.39.5."""

TEMPERATURE_RANGE = (0.001, 100.0)
REPETITION_PENALTY_RANGE = (0.1, 10.0)
"""Beyond these, float32 logits overflow or all become the same."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerationConfig:
    """How to answer. `None` means what the checkpoint's generation_config.json says.

    Attributes:
        max_new_tokens: Most tokens of the answer, at least 1; of thought and answer together where
            `max_thinking_tokens` is None.
        max_thinking_tokens: With `enable_thinking` only: most tokens of thought, at least 1. Then the thought
            is closed and the answer begins. None means no allowance of its own.
        do_sample: Draw tokens by chance; False always takes the likeliest.
        temperature: 0.001 to 100, with `do_sample` only. Higher is more varied.
        top_p: In (0, 1], with `do_sample` only. Keep the likeliest tokens that add up to this.
        top_k: At least 1, with `do_sample` only. Keep this many of the likeliest tokens.
        repetition_penalty: 0.1 to 10; more than 1 makes repeats less likely. None means none.
        seed: 0 to 2**63 - 1, with `do_sample` only; the same seed draws the same tokens.
        stop: Texts that end the answer; what is returned ends before the first of them.
        enable_thinking: Let the model write thoughts before its answer.

    """

    max_new_tokens: int = DEFAULT_MAX_NEW_TOKENS
    do_sample: bool = False
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    repetition_penalty: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    enable_thinking: bool = False
    max_thinking_tokens: int | None = None

    def __post_init__(self) -> None:
        """Refuse combinations that cannot be meant.

        Raises:
            ConfigurationError: A value has the wrong type, is out of range, or needs sampling while
                sampling is off.

        """
        self._check_types()
        _check(self.max_new_tokens >= 1, "max_new_tokens", self.max_new_tokens, "1 or more")
        sampling = {name: getattr(self, name) for name in ("temperature", "top_p", "top_k", "seed")}
        for name, value in sampling.items():
            if value is not None and not self.do_sample:
                raise ConfigurationError(
                    f"{name} is {value!r} while sampling is off, where it would do nothing. "
                    f"Leave {name} out, or turn sampling on with a temperature above 0."
                )
        if self.temperature is not None:
            low, high = TEMPERATURE_RANGE
            allowed = f"{low} to {high}; for the likeliest answer every time, turn sampling off instead"
            _check(low <= self.temperature <= high, "temperature", self.temperature, allowed)
        if self.top_p is not None:
            _check(0 < self.top_p <= 1, "top_p", self.top_p, "above 0 and at most 1")
        if self.top_k is not None:
            _check(self.top_k >= 1, "top_k", self.top_k, "1 or more")
        if self.repetition_penalty is not None:
            low, high = REPETITION_PENALTY_RANGE
            is_allowed = low <= self.repetition_penalty <= high
            _check(is_allowed, "repetition_penalty", self.repetition_penalty, f"{low} to {high}")
        if self.seed is not None:
            _check(0 <= self.seed < 2**63, "seed", self.seed, "0 to 2**63 - 1")
        if self.max_thinking_tokens is not None:
            allowance = self.max_thinking_tokens
            _check(allowance >= 1, "max_thinking_tokens", allowance, "1 or more")
            if not self.enable_thinking:
                raise ConfigurationError(
                    f"max_thinking_tokens is {allowance} while thinking is off, where it would do nothing. "
                    "Leave it out, or turn enable_thinking on."
                )
        is_texts = isinstance(self.stop, tuple) and all(isinstance(text, str) and text for text in self.stop)
        _check(is_texts, "stop", self.stop, "a tuple of texts of at least one character")

    def _check_types(self) -> None:
        # Python does not hold a caller to the types of a dataclass.
        may_be_none = {field.name for field in fields(self) if field.default is None}
        for names, is_kind, kind in _TYPES:
            for name in names:
                value = getattr(self, name)
                _check(is_kind(value) or (value is None and name in may_be_none), name, value, kind)


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _is_integer(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _is_boolean(value: object) -> bool:
    return isinstance(value, bool)


_TYPES: tuple[tuple[tuple[str, ...], Callable[[object], bool], str], ...] = (
    (("max_new_tokens", "top_k", "seed", "max_thinking_tokens"), _is_integer, "a whole number"),
    (("temperature", "top_p", "repetition_penalty"), _is_number, "a number"),
    (("do_sample", "enable_thinking"), _is_boolean, "True or False"),
)


def _check(is_allowed: bool, name: str, value: object, allowed: str) -> None:  # noqa: FBT001 - a condition
    if not is_allowed:
        raise ConfigurationError(f"{name} is {value!r}; it must be {allowed}.")
