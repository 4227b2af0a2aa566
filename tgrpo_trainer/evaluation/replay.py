"""Replays actions from their initial state at a higher resolution and frame rate, for videos."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tgrpo_trainer.rollout.environment import Envs, Observation

IMAGE_SIZE = 256
"""Pixels a side."""


def replay(actions_SA: NDArray[np.float32], envs: Envs, observation: Observation) -> tuple[NDArray[np.uint8], bool]:
    """Pictures before every control step and at the end (both cameras side by side), and whether it succeeded.

    Args:
        actions_SA: One row for each control step.
        envs: One member that decides every control step, just reset.
        observation: What the reset returned.
    """
    pictures = [_picture(observation)]
    succeeded = False
    for action_A in actions_SA:
        observation, _, terminated_N, _, _ = envs.step(action_A[None])
        pictures.append(_picture(observation))
        succeeded = bool(terminated_N[0])
    return np.stack(pictures), succeeded


def _picture(observation: Observation) -> NDArray[np.uint8]:
    return np.concatenate([observation["agentview"][0], observation["wrist"][0]], axis=1).astype(np.uint8, copy=True)
