"""Detokenize generated ids into thoughts and answer."""

from collections.abc import Sequence
from typing import Any

from gemma4_block.engine.family import DecodedReply, SpecialTokens
from gemma4_block.engine.gemma4.thoughts import split_thoughts, strip_channel_name


class Gemma4Detokenizer:
    """Knows the tokenizer and the channels of one checkpoint.

    Args:
        tokenizer: The checkpoint's.
        special_tokens: Its steering ids.

    """

    def __init__(self, tokenizer: Any, special_tokens: SpecialTokens) -> None:  # noqa: ANN401 - a foreign object
        self._tokenizer = tokenizer
        self._special_tokens = special_tokens

    def read(self, ids: Sequence[int], stop: Sequence[str] = ()) -> DecodedReply:
        """Cut a generated sequence where it ended, and split it into thoughts and answer."""
        tokens = self._special_tokens
        ended_at = next((place for place, token_id in enumerate(ids) if token_id in tokens.stop_ids), None)
        spoken = ids if ended_at is None else ids[:ended_at]
        if ended_at is None and tokens.pad_id not in tokens.stop_ids:
            # In the tensor of `generate`, a sequence that met a stop text is padded to the longest. A pad
            # before its last token was generated.
            last = max((place for place, token_id in enumerate(ids) if token_id != tokens.pad_id), default=-1)
            spoken = ids[: last + 1]
        parts = split_thoughts(spoken, opens=tokens.opens_thought, closes=tokens.closes_thought)
        thought = self._decode([ids[place] for place in parts.thought_places])
        answer = self._decode([ids[place] for place in parts.answer_places])
        text, met_stop_text = _cut_at_stop(answer, stop)
        return DecodedReply(
            thinking=strip_channel_name(thought),
            text=text.strip(),
            finish_reason="stop" if ended_at is not None or met_stop_text else "length",
            output_tokens=len(spoken) + (ended_at is not None),
            answer_places=parts.answer_places,
        )

    def read_raw(self, ids: Sequence[int]) -> str:
        """Return a generated sequence as text with all its control tokens."""
        text: str = self._tokenizer.decode(list(ids), skip_special_tokens=False)
        return text.strip()

    def has_stop_text(self, ids: Sequence[int], stop: Sequence[str]) -> bool:
        """Say whether the last tokens of an answer hold one of the texts that end it."""
        text = self._decode(ids)
        return any(mark in text for mark in stop)

    def _decode(self, ids: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(list(ids), skip_special_tokens=True)
        return text


def _cut_at_stop(text: str, stop: Sequence[str]) -> tuple[str, bool]:
    places = [text.index(mark) for mark in stop if mark in text]
    return (text[: min(places)], True) if places else (text, False)
