"""When to evaluate, when to stop, and the time left, from measured seconds."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from tgrpo_trainer.config import TrainConfig

RECENT = 5
"""Iterations whose mean predicts the next: their length changes as the policy learns."""


@dataclass
class Schedule:
    """Plan of a run's iterations and what they cost so far.

    Attributes:
        iterations: Planned.
        evaluate_every: Iterations between evaluations; the first and the last policy are always evaluated.
        max_s: Wall-clock budget of the run in seconds, or None.
        evaluation_s: What the latest evaluation took; 0 before the first.
        iteration_s: What the latest iterations took.
    """

    iterations: int
    evaluate_every: int
    max_s: float | None
    evaluation_s: float = 0.0
    iteration_s: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))

    @classmethod
    def of(cls, config: TrainConfig) -> Schedule:
        """The plan of a run that has not measured anything yet."""
        minutes = config.run.max_minutes
        return cls(config.run.iterations, config.evaluation.every, None if minutes is None else 60 * minutes)

    @property
    def pace_s(self) -> list[float]:
        """What was measured: the evaluation's seconds, then the latest iterations'; `restore` takes it back."""
        return [self.evaluation_s, *self.iteration_s]

    def restore(self, pace_s: list[float]) -> None:
        """Go on with the pace that an earlier process of the run measured; an empty list changes nothing."""
        if pace_s:
            self.evaluation_s = pace_s[0]
            self.iteration_s.extend(pace_s[1:])

    @property
    def expected_iteration_s(self) -> float:
        """Expected seconds of the next iteration; 0 before the first."""
        return sum(self.iteration_s) / max(1, len(self.iteration_s))

    def is_last(self, done: int, elapsed_s: float) -> bool:
        """Whether to stop after `done` iterations: none is left, or one more and the last evaluation would not fit."""
        needed_s = self.expected_iteration_s + self.evaluation_s
        return done >= self.iterations or (self.max_s is not None and elapsed_s + needed_s > self.max_s)

    def is_evaluation_due(self, done: int) -> bool:
        """Whether the policy after `done` iterations is evaluated on the way."""
        return done % self.evaluate_every == 0

    def seconds_left(self, done: int, elapsed_s: float) -> float:
        """Expected seconds until the end, never more than the budget leaves."""
        evaluations = 1 + max(0, (self.iterations - 1) // self.evaluate_every - done // self.evaluate_every)
        left_s = (self.iterations - done) * self.expected_iteration_s + evaluations * self.evaluation_s
        return left_s if self.max_s is None else max(0.0, min(left_s, self.max_s - elapsed_s))
