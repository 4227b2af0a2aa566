"""One whole iteration of TGRPO with real environments: seconds in the environment, the policy and the update.

A scene that was built elsewhere and copied into this machine's cache is enough (docs/performance.md, "Scenes are
portable"): neither LIBERO nor robosuite is needed here.
"""

from __future__ import annotations

from contextlib import closing

import torch

from benchmarks.table import Measurement
from benchmarks.trainer.timing import seconds_of
from benchmarks.trainer.updates import made_up_batch, make_updater
from tgrpo_trainer.config import EnvConfig, TrainConfig
from tgrpo_trainer.distributed.fsdp import ShardedPolicy
from tgrpo_trainer.distributed.world import World
from tgrpo_trainer.metrics.metrics import Mean
from tgrpo_trainer.policy.openvla.policy import OpenVlaPolicy
from tgrpo_trainer.recipes import openvla_libero
from tgrpo_trainer.rollout.environment import make_envs
from tgrpo_trainer.rollout.tasks import TaskEnvs
from tgrpo_trainer.train_step import run_iteration

PARTS = {"environment": "time/env_s", "policy": "time/policy_s", "update": "time/update_s", "whole": "time/iteration_s"}


def iteration_config(policy: OpenVlaPolicy, assets: str, control_steps: int) -> TrainConfig:
    """The recipe openvla_libero on this policy's pictures, with episodes of at most so many control steps."""
    recipe = openvla_libero()
    env = EnvConfig(
        suite="libero_object",
        tasks=(0,),
        assets=assets,
        image_size=policy.image_size,
        action_chunk=1,
        horizon=control_steps,
    )
    return recipe.replace(env=env)


def iteration_rows(policy: OpenVlaPolicy, config: TrainConfig, *, microbatch_size: int) -> list[Measurement]:
    """An iteration after a first reset, which opens the scene.

    A policy of random weights may earn nothing at all, and then there is no update. It is timed on as many made-up
    decisions instead, and the row says so.

    Raises:
        TgrpoError: The environment cannot be made here.
    """
    rollout = config.rollout
    with closing(TaskEnvs(config.env, rollout.num_envs, rollout.num_generations, make_envs)) as envs:
        updater = make_updater(policy, microbatch_size, config.update.minibatch_size)
        states = {"init_states": "train", "group_size": rollout.num_generations}
        envs.for_groups([0] * rollout.num_groups).reset(seed=list(range(envs.num_envs)), options=states)
        alone = World(device=policy.device)
        iteration = run_iteration(config, envs, ShardedPolicy(policy, alone), updater, 0, alone)
    metrics = {key: value.value if isinstance(value, Mean) else value for key, value in iteration.metrics.items()}
    seconds = {part: metrics[key] for part, key in PARTS.items()}
    decisions = sum(len(member.trajectory) for group in iteration.groups for member in group)
    why = ""
    if metrics["update/optimiser_steps"] == 0:
        batch = made_up_batch(policy, decisions, microbatch_size)
        policy.train()
        shuffler = torch.Generator().manual_seed(0)
        update_s = seconds_of(lambda: updater.update(batch, 0, shuffler), policy.device, repeats=1, warmups=0)
        seconds["whole"] += update_s - seconds["update"]
        seconds["update"] = update_s
        why = "all members of a group earned the same: timed on as many made-up decisions"
    what = f"iteration of {config.rollout.num_envs} episodes"
    return [
        Measurement(f"{what}: decisions", float(decisions), ""),
        *(
            Measurement(f"{what}: {part}", value, "s", why=why if part == "update" else "")
            for part, value in seconds.items()
        ),
    ]
