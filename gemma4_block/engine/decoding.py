"""Write replies token by token, one batch at a time."""

from collections.abc import Sequence
from typing import Any

import torch

from gemma4_block.engine.prefill import Reading, positions_of
from gemma4_block.engine.row import Row


def write_replies(model: Any, reading: Reading, rows: Sequence[Row], *, pad_id: int) -> None:  # noqa: ANN401
    """Let every row choose tokens until all have ended. Rows that end leave the batch.

    Args:
        model: A loaded Gemma 4.
        reading: The rows' prompts; its cache is used up.
        rows: One for each prompt, none of them ended.
        pad_id: An id that the model knows.

    """
    cache, mask, logits = reading.cache, reading.mask, reading.logits
    positions = positions_of(mask)[:, -1:]
    active = list(rows)
    while True:
        _choose(active, logits)
        going = [place for place, row in enumerate(active) if not row.is_ended]
        if not going:
            return
        if len(going) < len(active):
            kept = torch.tensor(going, device=mask.device)
            cache.batch_select_indices(kept)
            mask, positions = mask[kept], positions[kept]
            active = [active[place] for place in going]
        ids = [[row.ids[-1] if row.ids else pad_id] for row in active]
        mask = torch.cat([mask, mask.new_ones(len(active), 1)], dim=1)
        positions = positions + 1
        outputs = model(
            input_ids=torch.tensor(ids, device=mask.device),
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits = outputs.logits[:, -1].float()


def _choose(rows: Sequence[Row], logits: torch.Tensor) -> None:
    # One transfer from the device serves all rows that want nothing but the likeliest token.
    likeliest = logits.argmax(dim=-1).tolist() if any(row.is_plain for row in rows) else []
    for place, row in enumerate(rows):
        if row.is_plain:
            row.accept(likeliest[place])
        else:
            row.choose(logits[place])
