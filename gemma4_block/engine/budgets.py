"""Keep visual token budgets to those that a model was trained for."""

import logging
from threading import Lock

from gemma4_block.contract import ImageSeqLength

_LOGGER = logging.getLogger(__name__)


class TrainedBudgets:
    """Moves the budgets that are asked for to those of a model. May be used from many threads.

    At a budget that it has not seen, a model answers at full confidence and often wrongly, so what it was
    trained for is kept whoever asks. Each number that is moved is told in the log once.

    Args:
        model: Its name in the log.
        trained: What it was trained for, at least one.

    Attributes:
        trained: As given.

    """

    def __init__(self, model: str, trained: tuple[ImageSeqLength, ...]) -> None:
        self._model = model
        self.trained = trained
        self._told: set[ImageSeqLength] = set()
        self._lock = Lock()

    def choose(self, asked: ImageSeqLength) -> ImageSeqLength:
        """Return the budget itself where the model was trained for it, and the nearest trained one else.

        Args:
            asked: What a user, a step or the checkpoint's own files say.

        Returns:
            A trained one.

        Examples:
            >>> [TrainedBudgets("small", (70, 140, 280)).choose(asked) for asked in (140, 560, 1120)]
            [140, 280, 280]

        """
        chosen = min(self.trained, key=lambda trained: abs(trained - asked))
        if chosen != asked:
            self._tell(asked, chosen)
        return chosen

    def _tell(self, asked: ImageSeqLength, chosen: ImageSeqLength) -> None:
        with self._lock:
            if asked in self._told:
                return
            self._told.add(asked)
        _LOGGER.warning(
            "image_seq_length %d is none that %s was trained for (%s): %d is taken instead.",
            asked,
            self._model,
            ", ".join(map(str, self.trained)),
            chosen,
        )
