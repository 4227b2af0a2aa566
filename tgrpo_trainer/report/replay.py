"""Sharper pictures of the last group: its actions once more from its start state, drawn larger and more often."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tgrpo_trainer.config import EnvConfig
from tgrpo_trainer.environment import Envs, Observation
from tgrpo_trainer.report.record import LastGroup, RolloutRecord

IMAGE_SIZE = 256
"""Pixels a side."""


def sharpened(group: LastGroup, env: EnvConfig, make_envs: Callable[[EnvConfig, int], Envs]) -> LastGroup:
    """The group with replayed pictures in place of what the policy saw.

    The simulation is deterministic, so the replay is the rollout. A record whose replay ends otherwise (for instance
    in another version of the environment) keeps its own pictures.

    Args:
        group: What training recorded.
        env: The run's environment; only picture size and chunk are changed.
        make_envs: Makes it.
    """
    envs = make_envs(env.model_copy(update={"image_size": IMAGE_SIZE, "action_chunk": 1}), 2)
    try:
        best, worst = _replay((group.best, group.worst), envs, group.state_seed)
    finally:
        envs.close()
    return replace(group, best=best, worst=worst)


def _replay(records: tuple[RolloutRecord, RolloutRecord], envs: Envs, state_seed: int) -> list[RolloutRecord]:
    observation, _ = envs.reset(
        seed=[state_seed] * len(records), options={"init_states": "train", "group_size": len(records)}
    )
    frames = [[picture] for picture in _pictures(observation)]
    lengths = [record.control_steps for record in records]
    actions = [record.actions_TCA.reshape(-1, record.actions_TCA.shape[-1]) for record in records]
    succeeded_N = np.zeros(len(records), dtype=bool)
    for step in range(max(lengths)):
        sent_NA = np.stack([action_TA[min(step, len(action_TA) - 1)] for action_TA in actions])
        observation, _, terminated_N, _, _ = envs.step(sent_NA)
        for i, picture in enumerate(_pictures(observation)):
            if step < lengths[i]:
                frames[i].append(picture)
                succeeded_N[i] = terminated_N[i]
    return [
        replace(record, frames_FHWC=np.stack(seen)) if succeeded == (record.end == "success") else record
        for record, seen, succeeded in zip(records, frames, succeeded_N, strict=True)
    ]


def _pictures(observation: Observation) -> list[NDArray[np.uint8]]:
    both_NHWC = np.concatenate([observation["agentview"], observation["wrist"]], axis=2)
    return [picture.astype(np.uint8, copy=True) for picture in both_NHWC]
