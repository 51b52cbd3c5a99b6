"""Build attention masks for new positions of padded sequences, and for positions on branches of a tree."""

import torch


def build_masks(
    before: torch.Tensor,
    positions: torch.Tensor,
    sees: torch.Tensor,
    *,
    sliding_window: int,
) -> dict[str, torch.Tensor]:
    """Return the attention masks of new positions over the KV cache and over each other.

    Args:
        before: `(B, L)` int64, 1 at cached tokens, 0 at padding on the left.
        positions: `(B, Q)` int64, places in the text of the new ones.
        sees: `(B, Q, Q)` bool, which of the new ones each of them sees; at least itself.
        sliding_window: Of the text model.

    Returns:
        `(B, 1, Q, K)` bool for each kind of layer; a sliding layer has kept the last positions only.

    """
    length, size = before.shape[1], positions.shape[1]
    known = before.bool()[:, None].expand(-1, size, -1)
    full = torch.cat([known, sees], dim=2)
    keys = torch.cat([before.cumsum(dim=1) - 1, positions], dim=1)
    distance = positions[:, :, None] - keys[:, None]
    kept = min(length, sliding_window - 1) + size
    sliding = (full & (distance < sliding_window))[:, :, -kept:]
    return {"full_attention": full[:, None], "sliding_attention": sliding[:, None]}
