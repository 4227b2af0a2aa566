"""One whole iteration of TGRPO with real environments: seconds in the environment, the policy and the update.

A scene that was built elsewhere and copied into this machine's cache is enough (docs/performance.md, "Scenes are
portable"): neither LIBERO nor robosuite is needed here.
"""

from __future__ import annotations

from contextlib import closing

from tgrpo_trainer.bench.table import Measurement, not_run
from tgrpo_trainer.bench.updates import make_updater
from tgrpo_trainer.config import EnvConfig, TrainConfig
from tgrpo_trainer.distributed import World
from tgrpo_trainer.environment import make_envs
from tgrpo_trainer.iteration import run_iteration
from tgrpo_trainer.metrics import Mean
from tgrpo_trainer.policy.openvla import OpenVlaPolicy
from tgrpo_trainer.recipes import openvla_libero
from tgrpo_trainer.sharding import Student

PARTS = {"environment": "time/env_s", "policy": "time/policy_s", "update": "time/update_s", "whole": "time/iteration_s"}


def iteration_config(policy: OpenVlaPolicy, assets: str, control_steps: int | None) -> TrainConfig:
    """The recipe openvla_libero on this policy's pictures, with episodes of at most so many control steps."""
    recipe = openvla_libero()
    env = EnvConfig(
        suite="libero_object",
        task=0,
        assets=assets,
        image_size=policy.image_size,
        action_chunk=1,
        max_control_steps=control_steps,
    )
    return recipe.replace(env=env)


def iteration_rows(policy: OpenVlaPolicy, config: TrainConfig, *, microbatch_size: int) -> list[Measurement]:
    """An iteration after a first reset and step, which take meshes to OpenGL.

    Raises:
        TgrpoError: The environment cannot be made here.
    """
    with closing(make_envs(config.env, config.rollout.num_envs)) as envs:
        size = config.update.minibatch_size
        updater = make_updater(policy, microbatch_size, size)
        envs.reset(seed=list(range(envs.num_envs)))
        alone = World(device=policy.device)
        metrics = run_iteration(config, envs, Student(policy, alone), updater, 0, alone).metrics
    values = {name: value.value if isinstance(value, Mean) else value for name, value in metrics.items()}
    what = f"iteration of {config.rollout.num_envs} episodes"
    rows = [Measurement(f"{what}: {part}", values[key], "s") for part, key in PARTS.items()]
    if values["update/optimiser_steps"] == 0:
        why = "all trajectories of each group earned the same, so there was nothing to learn"
        rows = [not_run(row.what, row.unit, why) if row.what.endswith(": update") else row for row in rows]
    return rows
