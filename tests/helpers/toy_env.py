"""Reaching tasks with the vector environment's interface, in plain numpy: fast, deterministic, with known answers.

A point starts at (x, y) and moves by 0.1 times the first two numbers of each action. Task 0 succeeds within GOAL_RADIUS
of the origin. Stages: "near" (within NEAR_RADIUS) and "reached". Reward: 0.5 when a stage is done for the first time,
so a success returns 1 and a miss at most 0.5. Task 1 has its goal elsewhere, and a third stage before the others,
"seen" (within SEEN_RADIUS); each of the three pays a third. All other tasks are task 0.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

GOAL_RADIUS, NEAR_RADIUS, STEP = 0.15, 0.5, 0.1
SEEN_RADIUS = 0.7
TASKS = {
    0: ("reach the middle", (0.0, 0.0), ("near", "reached")),
    1: ("reach the right side of the field", (0.5, 0.0), ("seen", "near", "reached")),
}
IMAGE_SIZE, HORIZON = 16, 24
FIXED = {"heldout": 40, "official": 50}


class ToyReach(VectorEnv[dict[str, Any], Any, Any]):
    asset_pack = "toy"

    def __init__(
        self,
        num_envs: int = 4,
        *,
        task: int | str = 0,
        action_chunk: int = 2,
        horizon: int | None = HORIZON,
        diverge_at: dict[int, int] | None = None,
        **_ignored: Any,
    ) -> None:
        self.task_description, self.goal_2, self.stage_names = TASKS.get(int(task), TASKS[0])
        self.num_envs, self.action_chunk, self.horizon = num_envs, action_chunk, horizon or HORIZON
        self.diverge_at = diverge_at or {}  # member -> control step at which its physics fails
        self.metadata = {"autoreset_mode": AutoresetMode.DISABLED}
        image = gym.spaces.Box(0, 255, (IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
        proprio = gym.spaces.Box(-np.inf, np.inf, (12,), np.float32)
        self.single_observation_space = gym.spaces.Dict({"agentview": image, "wrist": image, "proprio": proprio})
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.position_N2 = np.zeros((num_envs, 2))
        self.control_steps_N, self.best_N = np.zeros((2, num_envs), dtype=np.int64)
        self.terminated_N, self.truncated_N = np.zeros((2, num_envs), dtype=bool)
        self.live_counts: list[int] = []
        self.closed_cleanly = False

    def get_attr(self, name: str) -> tuple[Any, ...]:
        return (getattr(self, name),) * self.num_envs

    def num_init_states(self, name: str) -> int:
        return FIXED[name]

    def reset(
        self, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        options = options or {}
        if "init_state_ids" in options:
            ids = options["init_state_ids"]
            assert len(ids) == self.num_envs
            angle_N = 2 * np.pi * ids / FIXED[options["init_states"]]
        else:
            leaders = np.arange(self.num_envs) // options["group_size"] * options["group_size"]
            angle_N = np.array([np.random.default_rng(seed[i]).uniform(0, 2 * np.pi) for i in leaders])
        mask_N = options.get("reset_mask", np.ones(self.num_envs, dtype=bool))
        self.position_N2[mask_N] = 0.8 * np.stack([np.cos(angle_N), np.sin(angle_N)], axis=1)[mask_N]
        for array_N in (self.control_steps_N, self.terminated_N, self.truncated_N, self.best_N):
            array_N[mask_N] = 0
        return self._observe(), {}

    def step(self, actions: NDArray[Any]) -> tuple[dict[str, Any], Any, Any, Any, dict[str, Any]]:
        live_N = ~(self.terminated_N | self.truncated_N)
        self.live_counts.append(int(live_N.sum()))
        rewards_N, num_stages = np.zeros(self.num_envs), len(self.stage_names)
        diverged_N = np.zeros(self.num_envs, dtype=bool)
        for i in np.flatnonzero(live_N):
            for action in np.clip(actions[i].reshape(self.action_chunk, 7), -1, 1):
                self.control_steps_N[i] += 1
                if self.control_steps_N[i] == self.diverge_at.get(int(i)):
                    diverged_N[i] = self.truncated_N[i] = True
                    break
                self.position_N2[i] += STEP * action[:2]
                stage = self._stages()[i].sum()
                rewards_N[i] += max(0, stage - self.best_N[i]) / num_stages
                self.best_N[i] = max(self.best_N[i], stage)
                self.terminated_N[i] = stage == num_stages
                self.truncated_N[i] = stage < num_stages and self.control_steps_N[i] >= self.horizon
                if self.terminated_N[i] or self.truncated_N[i]:
                    break
        stages_NK = self._stages()
        info = {
            "success": self.terminated_N.copy(),
            "progress": self.best_N / num_stages,
            "stage": stages_NK.sum(1),
            "stages": stages_NK,
            "control_steps": self.control_steps_N.copy(),
            "diverged": diverged_N,
        }
        return self._observe(), rewards_N, self.terminated_N.copy(), self.truncated_N.copy(), info

    def _stages(self) -> NDArray[np.bool_]:
        distance_N = np.linalg.norm(self.position_N2 - self.goal_2, axis=1)
        radii = (SEEN_RADIUS, NEAR_RADIUS, GOAL_RADIUS)[-len(self.stage_names) :]
        return np.stack([distance_N < radius for radius in radii], axis=1)

    def _observe(self) -> dict[str, Any]:
        image_NHWC = np.zeros((self.num_envs, IMAGE_SIZE, IMAGE_SIZE, 3), dtype=np.uint8)
        column_N, row_N = np.clip((self.position_N2 + 1) / 2 * IMAGE_SIZE, 0, IMAGE_SIZE - 1).astype(int).T
        image_NHWC[np.arange(self.num_envs), row_N, column_N] = 255
        proprio_NP = np.zeros((self.num_envs, 12), dtype=np.float32)
        proprio_NP[:, :2] = self.position_N2
        return {"agentview": image_NHWC, "wrist": image_NHWC.copy(), "proprio": proprio_NP}

    def close_extras(self, **_kwargs: Any) -> None:
        self.closed_cleanly = True
