"""How long and how hard to train."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """How long and how hard to train.

    The learning rate stays where it is until an end is set, because nobody knows beforehand how long that is.

    Attributes:
        tower_steps: Steps in which only the tower and its throw-away heads learn.
        tower_curriculum_steps: Of these, until pictures are as hard as they get.
        curriculum_steps: The same for steps of the whole model.
        warm_up_steps: Over which the rate rises at the start of both stages.
        learning_rate: Highest rate.
        rows: Pictures of a step of the whole model, by budget.
        tower_rows: Pictures of a step of the tower, by budget.
        odds: How often each budget is drawn.
        seed: Every choice follows from it and from the number of the step.

    """

    tower_steps: int = 3300
    tower_curriculum_steps: int = 500
    curriculum_steps: int = 400
    warm_up_steps: int = 100
    learning_rate: float = 2e-3
    rows: tuple[int, ...] = (16, 9, 5)
    tower_rows: tuple[int, ...] = (32, 16, 8)
    odds: tuple[float, ...] = (0.45, 0.15, 0.4)
    seed: int = 20261126

    def is_tower(self, step: int) -> bool:
        """Say whether only the tower learns in a step."""
        return step < self.tower_steps

    def difficulty(self, step: int) -> float:
        """Return how hard the pictures of a step are at most, 0 to 1."""
        if self.is_tower(step):
            return min(1.0, step / max(1, self.tower_curriculum_steps))
        return min(1.0, 0.3 + (step - self.tower_steps) / max(1, self.curriculum_steps))

    def rate(self, step: int, end: int | None, decay_steps: int, start: int = 0) -> float:
        """Return the learning rate of a step; it falls to nothing over the last ones where an end is set.

        Args:
            step: Its number.
            end: The number of the first step that is not taken, where it is set.
            decay_steps: Over how many steps before that the rate falls.
            start: The first step of optimizers that know nothing yet.

        Returns:
            The rate.

        """
        since = step - start if self.is_tower(step) else step - max(start, self.tower_steps)
        warm = min(1.0, (since + 1) / self.warm_up_steps)
        left = 1.0 if end is None else min(1.0, max(0.0, (end - step) / decay_steps))
        return self.learning_rate * warm * left
