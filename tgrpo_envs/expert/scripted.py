"""The scripted expert: runs the skills of a task's plan one after the other, in N environments side by side."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tgrpo_envs.bddl import Problem
from tgrpo_envs.expert.motion import ACTION_SIZE
from tgrpo_envs.expert.plan import Goal, make_skills
from tgrpo_envs.sim.snapshot import BoolArray, FloatArray, Snapshot, SnapshotLayout


class ScriptedExpert:
    """Drives N environments of one scene at once; one instance per vector of environments.

    Args:
        layout: Of the scene.
        goal: Of the task; see `plan`.
        num_envs: N.
        problem: The scene's task file; see `plan`.

    Raises:
        ConfigError: See `plan`.
        UnknownNameError: The scene lacks an entity of the goal, or has an object the table of shapes lacks.
    """

    def __init__(self, layout: SnapshotLayout, goal: Goal, num_envs: int, problem: Problem | None = None) -> None:
        self._skills = make_skills(goal, layout, num_envs, problem)
        self._skill_N = np.zeros(num_envs, dtype=np.int64)

    @property
    def phase_N(self) -> NDArray[np.int64]:
        """The `Phase` of each environment after the last call of `act`."""
        return np.stack([skill.phase_N for skill in self._skills])[self._skill_N, np.arange(len(self._skill_N))]

    def reset(self, snapshot: Snapshot, mask_N: BoolArray) -> None:
        """Begin new episodes where `mask_N` holds, from what `snapshot` shows."""
        self._skill_N[mask_N] = 0
        self._skills[0].begin(snapshot, mask_N)
        self._skip_done(snapshot)

    def act(self, snapshot: Snapshot) -> FloatArray:
        """The next action of every environment.

        Args:
            snapshot: The present state.

        Returns:
            Actions of shape (N, 7) in [-1, 1]: metres / 0.05 along world x, y, z; axis-angle radians / 0.5; gripper.
        """
        actions_N7 = np.zeros((len(self._skill_N), ACTION_SIZE))
        at_N = self._skill_N.copy()
        for index, skill in enumerate(self._skills):
            mask_N = at_N == index
            if mask_N.any():
                actions_N7[mask_N] = skill.act(snapshot, mask_N)[mask_N]
        self._skip_done(snapshot)
        return actions_N7

    def _skip_done(self, snapshot: Snapshot) -> None:
        """Go on to the next skill where one has ended, and from the last to the first until the episode ends."""
        for index, skill in enumerate(self._skills):
            over_N = (self._skill_N == index) & skill.done_N
            if over_N.any():
                following = (index + 1) % len(self._skills)
                self._skill_N[over_N] = following
                self._skills[following].begin(snapshot, over_N)
