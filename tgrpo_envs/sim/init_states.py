"""Initial states as the simulator takes them: what a reset writes, beside the scene that they belong to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tgrpo_envs.errors import StateError
from tgrpo_envs.sim.snapshot import FloatArray


@dataclass(frozen=True)
class InitStates:
    """N initial states of one scene.

    Attributes:
        states_NX: Time, qpos and qvel in one row, as in LIBERO's files.
        fixtures_NF7: Pose of each fixture's root body: position (metres) and quaternion (w, x, y, z).
    """

    states_NX: FloatArray
    fixtures_NF7: FloatArray

    def __len__(self) -> int:
        return len(self.states_NX)

    def copy(self) -> InitStates:
        """An independent copy."""
        return InitStates(self.states_NX.copy(), self.fixtures_NF7.copy())

    def take(self, ids_M: NDArray[np.int64]) -> InitStates:
        """The states at these rows, in this order."""
        return InitStates(self.states_NX[ids_M], self.fixtures_NF7[ids_M])

    def pick(self, ids_M: NDArray[np.int64], name: str) -> InitStates:
        """`take` of indices that a user chose.

        Args:
            ids_M: The rows.
            name: Of this set, for the message.

        Raises:
            StateError: An index outside the set.
        """
        bad = ids_M[(ids_M < 0) | (ids_M >= len(self))]
        if bad.size:
            raise StateError(
                f"Initial state {int(bad[0])} of set {name!r} does not exist; choose from 0 to {len(self) - 1}."
            )
        return self.take(ids_M)
