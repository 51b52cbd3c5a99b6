"""Find the token ids that steer a reply of Gemma 4."""

from typing import Any

from gemma4_block.engine.family import SpecialTokens

END_OF_TURN = "<turn|>"


def read_special_tokens(model: Any, tokenizer: Any) -> SpecialTokens:  # noqa: ANN401 - foreign objects
    """Collect stop, channel, image and control ids from every place that knows them.

    A reply ends at the ids of generation_config.json, at `<eos>` and at `<turn|>`; where the tokenizer has no
    `<turn|>`, the model ends its turn with `<eos>`.

    Args:
        model: The transformers model.
        tokenizer: The checkpoint's.

    Returns:
        The ids.

    """
    configured = model.generation_config.eos_token_id
    stop_ids = set(configured if isinstance(configured, list) else [configured])
    end_of_turn = _known_id(tokenizer, END_OF_TURN)
    stop_ids |= {tokenizer.eos_token_id, end_of_turn}
    stop_ids.discard(None)
    pad_id = tokenizer.pad_token_id
    added = tokenizer.added_tokens_decoder.items()
    return SpecialTokens(
        stop_ids=frozenset(stop_ids),
        end_of_turn=tokenizer.eos_token_id if end_of_turn is None else end_of_turn,
        pad_id=tokenizer.eos_token_id if pad_id is None else pad_id,
        image_id=model.config.image_token_id,
        opens_thought=_known_id(tokenizer, "<|channel>"),
        closes_thought=_known_id(tokenizer, "<channel|>"),
        control_ids=frozenset({*tokenizer.all_special_ids, *(i for i, token in added if token.special)}),
    )


def _known_id(tokenizer: Any, token: str) -> int | None:  # noqa: ANN401 - a foreign object
    token_id: int | None = tokenizer.convert_tokens_to_ids(token)
    return None if token_id == tokenizer.unk_token_id else token_id
