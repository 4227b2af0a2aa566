"""What an evaluation shows an outside policy: made-up episodes, the same at every call."""

from __future__ import annotations

import numpy as np

from tgrpo_envs.bridges.policy import Seen


def seen(count: int, *, size: int = 8, step: int = 0) -> Seen:
    """`count` episodes at one control step, with noise for pictures and counted-up numbers for states."""
    rng = np.random.default_rng(0)
    pictures = {name: rng.integers(0, 255, (count, size, size, 3), dtype=np.uint8) for name in ("agentview", "wrist")}
    return Seen(
        pictures=pictures,
        proprio_nP=np.zeros((count, 12), np.float32),
        state_n8=np.arange(8.0 * count).reshape(count, 8),
        instruction="pick up the soup",
        episodes=tuple(range(10, 10 + count)),
        control_steps_n=np.full(count, step),
    )
