"""Write replies token by token, together. Rows join and leave between steps."""

from collections.abc import Sequence

import torch

from gemma4_block.engine.runner.forward import ModelPasses
from gemma4_block.engine.runner.kv_cache import Context, join_contexts
from gemma4_block.engine.runner.prefill import Reading
from gemma4_block.engine.scheduler.sequence import Row


class RunningBatch:
    """The replies that are being written.

    Args:
        passes: Of the model.

    Attributes:
        rows: Those that go on.

    """

    def __init__(self, passes: ModelPasses) -> None:
        self._passes = passes
        self._context: Context | None = None
        self.rows: list[Row] = []

    def add(self, reading: Reading, rows: Sequence[Row]) -> None:
        """Choose the first token of new rows, and let those that go on join.

        Args:
            reading: Of their prompts; it is used up.
            rows: One for each prompt.

        """
        _choose(rows, reading.logits)
        going = [place for place, row in enumerate(rows) if not row.is_ended]
        if not going:
            return
        new = reading.context
        if len(going) < len(rows):
            new.select(going)
        self._context = (
            new if self._context is None else join_contexts(self._passes.config, [self._context, new])
        )
        self.rows += [rows[place] for place in going]

    def step(self) -> None:
        """Read what was chosen, choose the next token of every row, and let rows that end go."""
        assert self._context is not None, "a step needs rows"
        logits = self._passes.extend(self._context, [row.take_unread() for row in self.rows])
        _choose(self.rows, logits)
        self.drop_ended()

    def drop_ended(self) -> None:
        """Let rows go that have ended."""
        going = [place for place, row in enumerate(self.rows) if not row.is_ended]
        if len(going) == len(self.rows):
            return
        self.rows = [self.rows[place] for place in going]
        if not self.rows or self._context is None:
            self._context = None
        else:
            self._context.select(going)

    def clear(self) -> None:
        """Let all rows go, whatever state a failure has left them in."""
        self.rows, self._context = [], None


def _choose(rows: Sequence[Row], logits: torch.Tensor) -> None:
    drawn = logits.argmax(dim=-1, keepdim=True).float().repeat(1, 2)
    for place, row in enumerate(rows):
        if not row.is_plain:
            drawn[place] = row.draw(logits[place])
    # One transfer from the device serves all rows.
    for row, (token_id, log_probability) in zip(rows, drawn.tolist(), strict=True):
        row.take(int(token_id), log_probability)
        row.take_forced(logits.shape[-1])
