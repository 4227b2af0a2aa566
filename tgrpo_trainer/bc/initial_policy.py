"""The policy a run starts from: new or saved, cloned from demonstrations that the run records if it has none."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

from tgrpo_envs.command import run_child
from tgrpo_envs.errors import ConfigError, TrainingError
from tgrpo_trainer.bc.behaviour_cloning import train_sft
from tgrpo_trainer.bc.dataset import DemoDataset, load_demonstrations
from tgrpo_trainer.config import EnvConfig, SftConfig, TrainConfig
from tgrpo_trainer.distributed.fsdp import ShardedPolicy
from tgrpo_trainer.distributed.world import World
from tgrpo_trainer.optim.optimizer import refuse_unfit
from tgrpo_trainer.policy import policy_class
from tgrpo_trainer.policy.base import Policy, PolicyStart
from tgrpo_trainer.policy.hub import resolve_checkpoint
from tgrpo_trainer.policy.lora import LoraSettings
from tgrpo_trainer.policy.nano.settings import NanoGaussianSettings, NanoSettings, saved_settings
from tgrpo_trainer.rollout.tasks import task_key
from tgrpo_trainer.run.console import progress, say
from tgrpo_trainer.run.layout import DEMONSTRATIONS_FOLDER, DEMONSTRATIONS_NAME
from tgrpo_trainer.run.rng import Stream, derive_seed, make_generator

NOT_RECORDED = ("perturb", "detail", "fixture_poses")
"""Settings that change what is seen, and that the scripted expert's recorder does not have."""


def refuse_unused_demonstrations(sft: SftConfig) -> None:
    """Refuse files of demonstrations that nothing would be learnt from.

    Raises:
        ConfigError: No step of cloning is to be done.
    """
    if sft.demonstrations and sft.max_steps == 0:
        raise ConfigError(
            f"sft.max_steps is 0, so nothing would be learnt from sft.demonstrations {sft.demonstrations[0]}; give "
            "--sft.max-steps too, such as 600, or leave the demonstrations out."
        )


def pin_checkpoint(config: TrainConfig) -> TrainConfig:
    """The same run with its starting checkpoint at hand and named so that resuming finds the same one.

    A name on the hub gets the commit it stands for now, and a folder its whole path; whatever is missing is downloaded.
    A saved nano policy is what it is, whatever a recipe or an option says of a new one, so the settings become its own.

    Raises:
        CheckpointError: It is neither a folder nor to be had from the hub.
    """
    policy = config.policy
    if policy.checkpoint is None:
        return config
    found = resolve_checkpoint(policy.checkpoint)
    pinned = {**policy.model_dump(), "checkpoint": found.pinned}
    if isinstance(policy.own_settings, NanoSettings | NanoGaussianSettings):
        pinned |= saved_settings(found.folder)
    config = config.replace(policy=pinned)
    if config.policy.own_settings != policy.own_settings:
        say(
            f"policy.{config.policy.kind} is that of {policy.checkpoint}, {config.policy.own_settings}: a saved policy "
            "keeps its own settings."
        )
    return config


def start_policy(
    config: TrainConfig,
    folder: Path,
    world: World = World(),  # noqa: B008 - frozen
) -> Policy:
    """Make or load the policy and clone the demonstrations; all ranks call it together.

    Args:
        config: The run's settings.
        folder: The run's folder; recorded demonstrations stay there.
        world: The ranks.

    Returns:
        The policy on the world's device, or sharded over its ranks.

    Raises:
        ConfigError: A saved policy that does not fit the environment's pictures or action chunk, or a policy that does
            not fit the optimiser of the updates.
        TrainingError: Recording demonstrations failed.
        CheckpointError: A policy or demonstration file that cannot be read.
    """
    with world.together():
        start = _new_or_saved(config)
        refuse_unfit(start, config.update)
    policy = ShardedPolicy(start, world).policy
    if config.sft.max_steps == 0:
        return policy
    with world.together(), world.first_alone():
        if not config.sft.demonstrations and world.is_main:
            _record_demonstrations(config, folder)
    with world.together():
        dataset = DemoDataset.cat([_load(config, task, path) for task, path in demonstration_files(config, folder)])
    policy.train()
    with progress("Cloning", config.sft.max_steps, shown=world.is_main) as bar:
        measured = train_sft(
            policy,
            dataset,
            config=config.sft,
            generator=make_generator(config.run.seed, Stream.SFT),
            on_step=lambda step, numbers: bar.advance(step, {"loss": f"{numbers['loss']:.2f}"}),
            world=world,
            stochastic=config.update.optimizer == "adamw_stochastic",
        )
    if world.is_main:
        loss, accuracy = measured["loss"], measured["accuracy"]
        files = demonstration_files(config, folder)
        what = files[0][1].name if len(files) == 1 else f"{len(files)} files of demonstrations"
        say(f"Cloned {what} ({dataset.layout}): loss {loss:.3f}, {accuracy:.0%} of choices as the expert's")
    return policy


def demonstration_files(config: TrainConfig, folder: Path) -> list[tuple[EnvConfig, Path]]:
    """The files of demonstrations with the settings of their tasks: those brought, else the run's own in its folder.

    Raises:
        ConfigError: Several tasks, and not one file for each.
    """
    tasks, brought = config.env.of_each_task(), config.sft.demonstrations
    if len(tasks) == 1:
        return [(tasks[0], path) for path in brought or (folder / DEMONSTRATIONS_NAME,)]
    if brought and len(brought) != len(tasks):
        raise ConfigError(
            f"sft.demonstrations names {len(brought)} files for {len(tasks)} tasks; give one for each, in their order: "
            f"{', '.join(str(task.task) for task in tasks)}."
        )
    recorded = [folder / DEMONSTRATIONS_FOLDER / f"{task_key(task)}.hdf5" for task in tasks]
    return list(zip(tasks, brought or recorded, strict=True))


def _load(config: TrainConfig, task: EnvConfig, path: Path) -> DemoDataset:
    brought = bool(config.sft.demonstrations)
    return load_demonstrations(
        path,
        action_chunk=task.action_chunk,
        image_size=task.image_size,
        task=task.resolved_task,
        instruction=task.resolved_task.instruction,
        rows=config.sft.demo_rows if brought else "before",
        pictures=config.sft.demo_pictures if brought else "opengl",
    )


def _new_or_saved(config: TrainConfig) -> Policy:
    env, chosen = config.env, config.policy
    lora = LoraSettings(**chosen.lora.model_dump()) if chosen.lora.rank > 0 else None
    policy = policy_class(chosen.kind).start(
        PolicyStart(
            image_size=env.image_size,
            action_chunk=env.action_chunk,
            suite=env.suite,
            checkpoint=chosen.checkpoint,
            settings=chosen.own_settings,
            lora=lora,
            weights_seed=derive_seed(config.run.seed, Stream.WEIGHTS),
            adapters_seed=derive_seed(config.run.seed, Stream.ADAPTERS),
        )
    )
    if policy.adapters != lora:
        raise ConfigError(
            f"policy.lora.rank is {chosen.lora.rank}, but a policy of kind {chosen.kind} has no LoRA; leave it at 0."
        )
    if (policy.image_size, policy.action_chunk) != (env.image_size, env.action_chunk):
        raise ConfigError(
            f"{chosen.checkpoint} takes {policy.image_size}-pixel pictures and decides {policy.action_chunk} "
            f"steps at once, but the environment is set to {env.image_size} and {env.action_chunk}; "
            f"give --env.image-size {policy.image_size} --env.action-chunk {policy.action_chunk}."
        )
    return policy


def _record_demonstrations(config: TrainConfig, folder: Path) -> None:
    """The run's own demonstrations, by `tgrpo_envs`' scripted expert in its own process, where they are not there."""
    files = demonstration_files(config, folder)
    usual = EnvConfig()
    if other := [f"env.{name}" for name in NOT_RECORDED if getattr(config.env, name) != getattr(usual, name)]:
        say(f"Warning: demonstrations are recorded as if {', '.join(other)} were not set, and cloned so.")
    with progress("Recording", len(files), shown=len(files) > 1) as bar:
        for number, (env, path) in enumerate(files):
            if not path.is_file():
                path.parent.mkdir(exist_ok=True)
                _record_task(
                    env, path, config.sft.num_demos, derive_seed(config.run.seed, Stream.DEMONSTRATIONS, number)
                )
            bar.advance(number + 1, {})


def _record_task(env: EnvConfig, path: Path, num_demos: int, seed: int) -> None:
    options = {
        "suite": env.suite,
        "task": env.task,
        "assets": env.assets,
        "num-demos": num_demos,
        "image-size": env.image_size,
        "seed": seed,
        "out": path,
    }
    command = [sys.executable, "-m", "tgrpo_envs", "demos"]
    for name, value in (options | ({} if env.bddl is None else {"bddl": env.bddl})).items():
        command += [f"--{name}", str(value)]
    finished = run_child(command, stdout=subprocess.DEVNULL)
    if finished.returncode != 0:
        raise TrainingError(
            f"Recording demonstrations failed (its message is above). Try it alone with: {shlex.join(command)}, "
            "or give a file of your own with --sft.demonstrations."
        )
