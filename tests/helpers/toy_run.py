"""Settings of a run on the toy task, and a process that does one: `-m tests.helpers.toy_run FOLDER ITERATIONS SECONDS`.

Each environment step of the process takes the given seconds, so that a test can interrupt it in the middle.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import tgrpo_trainer.train
from tests.helpers.toy_env import ToyReach
from tgrpo_trainer.__main__ import main
from tgrpo_trainer.config import (
    EnvConfig,
    EvaluationConfig,
    PolicyConfig,
    RolloutConfig,
    RunConfig,
    SftConfig,
    TrainConfig,
    UpdateConfig,
)
from tgrpo_trainer.recipes import RECIPES


def toy_config(folder: Path, iterations: int, **run) -> TrainConfig:
    return TrainConfig(
        env=EnvConfig(image_size=16, action_chunk=2, max_control_steps=24),
        policy=PolicyConfig(num_bins=5),
        sft=SftConfig(max_steps=0),
        rollout=RolloutConfig(num_groups=2, num_generations=3),
        update=UpdateConfig(num_iterations=2, minibatch_size=32, learning_rate=1e-3, gradient_cosine=True),
        evaluation=EvaluationConfig(every=2, num_heldout=6, num_official=5),
        run=RunConfig(name=folder.name, folder=folder.parent, iterations=iterations, device="cpu", **run),
    )


def make_toy_envs(config: EnvConfig, num_envs: int) -> ToyReach:
    return ToyReach(num_envs, action_chunk=config.action_chunk, horizon=config.max_control_steps)


if __name__ == "__main__":
    folder, iterations, delay_s = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])

    class SlowToy(ToyReach):
        def step(self, actions):
            time.sleep(delay_s)
            return super().step(actions)

    def make_slow_envs(config: EnvConfig, num_envs: int) -> ToyReach:
        return SlowToy(num_envs, action_chunk=config.action_chunk, horizon=config.max_control_steps)

    tgrpo_trainer.train.make_envs = make_slow_envs
    RECIPES["toy"] = lambda: toy_config(folder, iterations)
    sys.exit(main(["train", "--recipe", "toy"]))
