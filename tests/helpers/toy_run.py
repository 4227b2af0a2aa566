"""Settings of a run on the toy task, and a process that does one: `-m tests.helpers.toy_run FOLDER ITERATIONS SECONDS`.

Each environment step of the process takes the given seconds, so that a test can interrupt it in the middle.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

import tgrpo_trainer.train
from tests.helpers.tiny_openvla import write_checkpoint
from tests.helpers.toy_env import ToyReach
from tgrpo_trainer.__main__ import main
from tgrpo_trainer.config import (
    EnvConfig,
    EvaluationConfig,
    RolloutConfig,
    RunConfig,
    SftConfig,
    TrainConfig,
    UpdateConfig,
)
from tgrpo_trainer.policy.nano.settings import NanoSettings
from tgrpo_trainer.policy.openvla.settings import OpenVlaConfig
from tgrpo_trainer.policy.settings import LoraConfig, PolicyConfig
from tgrpo_trainer.recipes import RECIPES, openvla_libero


def toy_config(folder: Path, iterations: int, **run: Any) -> TrainConfig:
    return TrainConfig(
        env=EnvConfig(image_size=16, action_chunk=2, horizon=24),
        policy=PolicyConfig(nano=NanoSettings(num_bins=5)),
        sft=SftConfig(max_steps=0),
        rollout=RolloutConfig(num_groups=2, num_generations=3),
        update=UpdateConfig(num_iterations=2, minibatch_size=32, learning_rate=1e-3, gradient_cosine=True),
        evaluation=EvaluationConfig(every=2, num_heldout=6, num_official=5),
        run=RunConfig(name=folder.name, folder=folder.parent, iterations=iterations, device="cpu", **run),
    )


def tiny_openvla_run(
    tmp_path: Path, *, iterations: int = 1, chunk: int = 1, lora: int = 0, **openvla: Any
) -> TrainConfig:
    """The recipe itself, cut to the toy task: 16-pixel pictures, episodes of six or three decisions."""
    checkpoint = tmp_path / "published"
    if not checkpoint.is_dir():
        write_checkpoint(checkpoint)
    recipe = openvla_libero()
    return recipe.replace(
        env=EnvConfig(image_size=16, action_chunk=chunk, horizon=6 if chunk == 1 else 12),
        policy=PolicyConfig(
            kind="openvla", checkpoint=str(checkpoint), lora=LoraConfig(rank=lora), openvla=OpenVlaConfig(**openvla)
        ),
        objective={**recipe.objective.model_dump(), "beta": 0.01},
        update={**recipe.update.model_dump(), "learning_rate": 1e-3, "warmup_iterations": 0},
        evaluation={**recipe.evaluation.model_dump(), "every": 10, "num_heldout": 1, "num_official": 1},
        run=RunConfig(name="run", folder=tmp_path, iterations=iterations, device="cpu"),
    )


def make_toy_envs(config: EnvConfig, num_envs: int) -> ToyReach:
    return ToyReach(num_envs, task=config.task, action_chunk=config.action_chunk, horizon=config.horizon)


if __name__ == "__main__":
    folder, iterations, delay_s = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])

    class SlowToy(ToyReach):
        def step(self, actions: NDArray[Any]) -> Any:
            time.sleep(delay_s)
            return super().step(actions)

    def make_slow_envs(config: EnvConfig, num_envs: int) -> ToyReach:
        return SlowToy(num_envs, action_chunk=config.action_chunk, horizon=config.horizon)

    tgrpo_trainer.train.make_envs = make_slow_envs  # type: ignore[attr-defined, assignment]
    RECIPES["toy"] = lambda: toy_config(folder, iterations)
    sys.exit(main(["train", "--recipe", "toy"]))
