"""Find the token ids that steer a reply."""

from dataclasses import dataclass
from typing import Any

END_OF_TURN = "<turn|>"


@dataclass(frozen=True, kw_only=True, slots=True)
class Vocabulary:
    """The ids that steer generation, read from checkpoint and tokenizer.

    Attributes:
        stop_ids: Any of them ends the reply: those of generation_config.json, `<eos>` and `<turn|>`.
        end_of_turn: Id of `<turn|>`, or of `<eos>` where the tokenizer has none.
        pad_id: Fills rows that have ended.
        opens_thought: Id of `<|channel>`, or None.
        closes_thought: Id of `<channel|>`, or None.
        control_ids: Every id that is a control token and no text.

    """

    stop_ids: frozenset[int]
    end_of_turn: int
    pad_id: int
    opens_thought: int | None
    closes_thought: int | None
    control_ids: frozenset[int]


def read_vocabulary(model: Any, tokenizer: Any) -> Vocabulary:  # noqa: ANN401 - foreign objects
    """Collect stop, channel and control ids from every place that knows them."""
    configured = model.generation_config.eos_token_id
    stop_ids = set(configured if isinstance(configured, list) else [configured])
    end_of_turn = _known_id(tokenizer, END_OF_TURN)
    stop_ids |= {tokenizer.eos_token_id, end_of_turn}
    stop_ids.discard(None)
    pad_id = tokenizer.pad_token_id
    added = tokenizer.added_tokens_decoder.items()
    return Vocabulary(
        stop_ids=frozenset(stop_ids),
        end_of_turn=tokenizer.eos_token_id if end_of_turn is None else end_of_turn,
        pad_id=tokenizer.eos_token_id if pad_id is None else pad_id,
        opens_thought=_known_id(tokenizer, "<|channel>"),
        closes_thought=_known_id(tokenizer, "<channel|>"),
        control_ids=frozenset({*tokenizer.all_special_ids, *(i for i, token in added if token.special)}),
    )


def _known_id(tokenizer: Any, token: str) -> int | None:  # noqa: ANN401 - foreign objects
    token_id: int | None = tokenizer.convert_tokens_to_ids(token)
    return None if token_id == tokenizer.unk_token_id else token_id
