"""The training run, in the order of the algorithm: clone, then collect groups, compare, update, evaluate, repeat.

Everything random follows from (seed, purpose, iteration), and what an iteration leaves behind is written before the
next one starts. So an interrupted run goes on after its last finished iteration and ends where it would have ended.

With several ranks all of them run this loop. Rank 0 writes files, prints, and decides when to stop; the others follow.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tgrpo_envs.command import Interrupted
from tgrpo_envs.errors import ConfigError
from tgrpo_trainer.bc.initial_policy import pin_checkpoint, refuse_unused_demonstrations, start_policy
from tgrpo_trainer.config import EnvConfig, TrainConfig
from tgrpo_trainer.distributed.fsdp import ShardedPolicy
from tgrpo_trainer.distributed.world import World, resolve_device
from tgrpo_trainer.evaluation.evaluate import EpisodeSplit
from tgrpo_trainer.evaluation.poor_start import poor_start
from tgrpo_trainer.evaluation.result import Evaluation, load_evaluations, pool, save_evaluations
from tgrpo_trainer.evaluation.tasks import evaluate_tasks, plan_of_run
from tgrpo_trainer.memory.check import out_of_memory_explained, warn_if_too_little
from tgrpo_trainer.metrics.metrics import Mean, MetricsWriter, evaluation_metrics
from tgrpo_trainer.metrics.wandb_logger import import_wandb, start_wandb
from tgrpo_trainer.optim.optimizer import refuse_unfit
from tgrpo_trainer.optim.reference import Reference, make_reference
from tgrpo_trainer.optim.update import PolicyUpdater
from tgrpo_trainer.policy.base import Policy
from tgrpo_trainer.report import write_report
from tgrpo_trainer.report.last_group_videos import write_videos
from tgrpo_trainer.report.record import LastGroup, find_last_group
from tgrpo_trainer.rollout.environment import Envs, make_envs
from tgrpo_trainer.rollout.tasks import TaskEnvs
from tgrpo_trainer.run.checkpoint import (
    Checkpoint,
    discard_later,
    latest_checkpoint,
    load_checkpoint,
    prune_checkpoints,
    read_state,
    refuse_other_optimizer,
    save_checkpoint,
)
from tgrpo_trainer.run.console import Progress, Stopwatch, progress, say
from tgrpo_trainer.run.layout import (
    CHECKPOINTS_NAME,
    CONFIG_NAME,
    EVALUATIONS_NAME,
    LAST_NAME,
    iteration_name,
    undone_if_it_fails,
)
from tgrpo_trainer.run.rng import Stream, derive_seed
from tgrpo_trainer.run.schedule import Schedule
from tgrpo_trainer.run.settings_changes import keep_earlier_settings
from tgrpo_trainer.run.signals import Signals
from tgrpo_trainer.train_step import Iteration, run_iteration

ALONE = World()


@dataclass(frozen=True)
class _Run:
    """What a run in progress works with."""

    config: TrainConfig
    folder: Path
    world: World
    envs: TaskEnvs
    student: ShardedPolicy
    updater: PolicyUpdater
    schedule: Schedule
    stopwatch: Stopwatch
    log: MetricsWriter | None
    """Rank 0's."""


def train(config: TrainConfig, world: World = ALONE, signals: Signals | None = None) -> Path:
    """Do the run in `config.run.path`, or what is left of it, and write its report.

    Args:
        config: The run's settings.
        world: The ranks of the run; alone, the policy goes to `config.run.device`.
        signals: Who listens to Ctrl-C and SIGTERM; the first ends the run after its present iteration.

    Returns:
        The report's path.

    Raises:
        Interrupted: A signal came; everything that was begun is finished and on disk.
        TgrpoError: See `start_policy`, `PolicyUpdater.update` and `load_checkpoint`.
    """
    if world.size == 1:
        world = World(device=resolve_device(config.run.device))
    _refuse_uneven(config, world)
    signals = signals or Signals()
    stopwatch = Stopwatch()
    with ExitStack() as stack:
        with _starting(config, world):
            config, folder = _open_folder(config, world)
            envs = stack.enter_context(closing(_rank_envs(config, world)))
            stack.enter_context(out_of_memory_explained(config))
            start, clock = _last_or_cloned(config, folder, stopwatch, world)
        if world.is_main:
            warn_if_too_little(config, start.policy)
        student = ShardedPolicy(start.policy, world)
        schedule = Schedule.of(config)
        schedule.restore(clock.get("pace_s", []))
        updater = _make_updater(config, folder, start, student, world)
        with world.together():
            log = _open_log(config, folder, start.iteration) if world.is_main else None
        with log or nullcontext():
            run = _Run(config, folder, world, envs, student, updater, schedule, stopwatch, log)
            done, stopped = _loop(run, start.iteration, signals)
    if stopped:
        raise Interrupted(stopped)
    if world.is_main:
        if done < config.run.iterations:
            planned, minutes = config.run.iterations, config.run.max_minutes
            say(f"Stopped after {done} of {planned} iterations: one more would not fit into {minutes} minutes.")
        _write_videos(config, folder)
        return write_report(folder)
    return folder


def clone(config: TrainConfig, world: World = ALONE) -> Path:
    """Only the supervised start, demonstrations and cloning; `train` goes on from there.

    Returns:
        The checkpoint of the cloned policy.

    Raises:
        ConfigError: The run has learnt already.
        TgrpoError: See `start_policy`.
    """
    if world.size == 1:
        world = World(device=resolve_device(config.run.device))
    with out_of_memory_explained(config), _starting(config, world):
        config, folder = _open_folder(config, world)
        _rank_envs(config, world).close()  # refuses settings that cannot work
        start, _ = _last_or_cloned(config, folder, Stopwatch(), world)
        if start.iteration > 0:
            raise ConfigError(
                f"{folder} holds no clone alone, but a run of {start.iteration} iterations; go on with train --resume "
                f"{folder}, or start a new run."
            )
    return start.folder


def _loop(run: _Run, done: int, signals: Signals) -> tuple[int, int]:
    """Iterations and evaluations until the end or a signal: (finished iterations, number of the signal or 0)."""
    config, world, schedule = run.config, run.world, run.schedule
    with signals.patience(), progress("Training", config.run.iterations, done=done, shown=world.is_main) as bar:
        while not (stopped := max(world.gather(signals.received))):
            is_last = _is_last(run, done)
            if is_last or schedule.is_evaluation_due(done):
                _evaluate_once(run, done)
                is_last = is_last or _is_last(run, done)  # an evaluation takes time too
            if is_last:
                break
            if stopped := max(world.gather(signals.received)):
                break
            begun = time.monotonic()
            iteration = run_iteration(config, run.envs, run.student, run.updater, done, world)
            done += 1
            if run.log is not None:
                run.log.write(done, iteration.metrics)
            _save_last_group(run, iteration, done)
            schedule.iteration_s.append(time.monotonic() - begun)
            _save(run, run.folder / LAST_NAME, done, updater=run.updater)
            _show(bar, iteration, done, schedule.seconds_left(done, run.stopwatch.elapsed_s))
    return done, stopped


def _is_last(run: _Run, done: int) -> bool:
    return run.world.broadcast(run.schedule.is_last(done, run.stopwatch.elapsed_s))


def _evaluate_once(run: _Run, done: int) -> None:
    """Evaluate the policy after `done` iterations, keep it as a checkpoint, log it and rewrite the report.

    Where its file is on disk already, only what had not been logged is. The file is written after the checkpoint.
    """
    path = run.folder / EVALUATIONS_NAME / f"{iteration_name(done)}.json"
    if run.world.broadcast(path.is_file()):
        with run.world.together():
            if run.log is not None:
                evaluations = load_evaluations(path)
                if not run.log.has_evaluation(done):
                    run.log.write(done, evaluation_metrics(evaluations))
                _say_if_played_otherwise(run, done, evaluations)
        return
    begun = time.monotonic()
    world = run.world
    with run.student.gathered() as player, world.together():
        shard = EpisodeSplit(world.rank, world.size, world.gather)
        plan = plan_of_run(run.config, run.envs.tasks, done)
        evaluations, _ = evaluate_tasks(player, plan, run.envs.lend, num_envs=run.envs.num_envs, shard=shard)
    pooled = pool(evaluations)
    run.schedule.evaluation_s = time.monotonic() - begun  # on the checkpoint's clock already, which a resumed run reads
    _save(run, run.folder / CHECKPOINTS_NAME, done, score=pooled[0].success_rate)
    with world.together():
        if run.log is not None:
            save_evaluations(path, evaluations)
            run.log.write(done, evaluation_metrics(evaluations))
            for count in pooled:
                say(f"After {done:3d} iterations, {count.states}, {count.mode}: {count}")
            if warning := poor_start(evaluations, run.config.sft):
                say(f"Warning: {warning}")
            write_report(run.folder)
    run.schedule.evaluation_s = time.monotonic() - begun


def _say_if_played_otherwise(run: _Run, done: int, evaluations: Sequence[Evaluation]) -> None:
    """What is on disk is not played again, though the settings of a resumed run may ask for something else by now."""
    plan = plan_of_run(run.config, run.envs.tasks, done)
    wanted = {(states, mode, count, plan.temperature) for states, count in plan.counts.items() for mode in plan.modes}
    if wanted != {(one.states, one.mode, one.num_episodes, one.temperature) for one in evaluations}:
        say(
            f"The evaluation after {done} iterations is on disk with other settings, and stays. To play more: "
            f"python -m tgrpo_trainer eval {run.folder / CHECKPOINTS_NAME / iteration_name(done)}"
        )


def _refuse_uneven(config: TrainConfig, world: World) -> None:
    """Each rank collects whole groups, all equally many."""
    if config.rollout.num_groups % world.size:
        raise ConfigError(
            f"rollout.num_groups is {config.rollout.num_groups}, which {world.size} ranks cannot share evenly; each "
            f"collects whole groups, so use a multiple of {world.size}."
        )
    if config.rollout.overlap and config.rollout.num_groups < 2 * world.size:
        raise ConfigError(
            f"rollout.overlap plays two halves of the groups, but rollout.num_groups is {config.rollout.num_groups}, "
            f"one a rank; use at least {2 * world.size}, or leave rollout.overlap out."
        )


def _starting(config: TrainConfig, world: World) -> AbstractContextManager[None]:
    """A run that fails before its first checkpoint leaves no folder behind."""
    return undone_if_it_fails(config.run.path) if world.is_main else nullcontext()


def _open_folder(config: TrainConfig, world: World) -> tuple[TrainConfig, Path]:
    """The run's folder, with the settings in it before anything else, so that it can be resumed from the start.

    The settings come back with the policy's checkpoint pinned.
    """
    folder = config.run.path
    with world.together(), world.first_alone():
        if world.is_main:
            last = latest_checkpoint(folder / LAST_NAME)
            if last is None:
                refuse_unused_demonstrations(config.sft)
            else:
                refuse_other_optimizer(last, config.update.optimizer)
            folder.mkdir(parents=True, exist_ok=True)
            keep_earlier_settings(folder, config)
            config.save(folder / CONFIG_NAME)
            if config.run.wandb_project is not None:
                import_wandb()  # missing? Better said now than after the demonstrations.
            if last is None:  # else nothing is read from there any more
                config = pin_checkpoint(config)  # which may download for an hour
                config.save(folder / CONFIG_NAME)
    config = world.broadcast(config)
    with world.together():
        if not (folder / CONFIG_NAME).is_file():
            raise ConfigError(f"Rank {world.rank} does not see {folder}; use a folder that all machines share.")
    return config, folder


def _open_log(config: TrainConfig, folder: Path, done: int) -> MetricsWriter:
    """The log of a run that goes on after `done` iterations, without what an earlier process measured after them."""
    if gone := discard_later(folder, done):
        say(
            f"Going on after {done} iterations; later evaluations and their checkpoints were of a policy that is gone, "
            f"and are deleted: {', '.join(gone)}."
        )
    return MetricsWriter(folder, next_iteration=done + 1, wandb=start_wandb(folder, config))


def _rank_envs(config: TrainConfig, world: World) -> TaskEnvs:
    """This rank's environments; ranks on one machine share its cores."""
    threads = config.env.num_threads
    if world.local_size > 1 and threads is None:
        threads = max(1, len(os.sched_getaffinity(0)) // world.local_size)

    def make(task: EnvConfig, num_envs: int) -> Envs:
        return make_envs(task.model_copy(update={"num_threads": threads}), num_envs)

    with world.together():
        return TaskEnvs(config.env, config.rollout.num_envs // world.size, config.rollout.num_generations, make)


def _last_or_cloned(
    config: TrainConfig, folder: Path, stopwatch: Stopwatch, world: World
) -> tuple[Checkpoint, dict[str, Any]]:
    """The checkpoint to go on from, with its clock; where there is none, that of the freshly cloned policy (0)."""
    last = world.broadcast(latest_checkpoint(folder / LAST_NAME))
    begins = last is None
    if last is None:
        policy = start_policy(config, folder, world)
        state = {"elapsed_s": stopwatch.elapsed_s}
        last = save_checkpoint(folder / LAST_NAME, iteration=0, policy=policy, state=state, world=world)
    checkpoint = load_checkpoint(last, world)
    with world.together():
        refuse_unfit(checkpoint.policy, config.update)
    # An evaluation's checkpoint of the same iteration has the minutes of the evaluation on its clock.
    evaluated = folder / CHECKPOINTS_NAME / last.name
    clock = checkpoint.state
    if world.is_main and evaluated.is_dir():
        clock = read_state(evaluated)
    if not begins:
        stopwatch.add(clock["elapsed_s"])
    return checkpoint, clock


def _make_updater(
    config: TrainConfig, folder: Path, start: Checkpoint, student: ShardedPolicy, world: World
) -> PolicyUpdater:
    """The optimiser as it was after the checkpoint, and the cloned policy as the reference of the KL term."""
    if world.is_main and config.update.optimizer == "adamw" and next(start.policy.parameters()).dtype != torch.float32:
        say("Warning: adamw loses steps smaller than 1/256 of a weight in half precision; see --update.optimizer.")
    updater = PolicyUpdater(
        student.policy,
        _make_reference(config, folder, start, student, world) if config.objective.needs_reference else None,
        objective=config.objective,
        optimiser=config.update,
        temperature=config.rollout.temperature,
        total_iterations=config.run.iterations,
        microbatch_size=config.update.microbatch_size,
        rounding_seed=derive_seed(config.run.seed, Stream.ROUNDING),
        world=world,
    )
    with world.together():
        start.restore_optimizer(student.policy, updater.optimizer)
    return updater


def _make_reference(
    config: TrainConfig, folder: Path, start: Checkpoint, student: ShardedPolicy, world: World
) -> Reference:
    """The cloned policy, iteration 0."""

    def load_first() -> Policy | None:
        path = folder / CHECKPOINTS_NAME / iteration_name(0)
        return load_checkpoint(path, world).policy if start.iteration > 0 else None

    return make_reference(config, student, load_first)


def _save(
    run: _Run, root: Path, done: int, *, score: float | None = None, updater: PolicyUpdater | None = None
) -> None:
    """A checkpoint; those to go on from hold the optimiser too (as large as two to six times the weights)."""
    save_checkpoint(
        root,
        iteration=done,
        policy=run.student.policy,
        state={"elapsed_s": run.stopwatch.elapsed_s, "pace_s": run.schedule.pace_s},
        score=score,
        optimizer=None if updater is None else updater.optimizer,
        world=run.world,
    )
    if run.world.is_main:
        # The first evaluated policy is the reference of the KL term.
        prune_checkpoints(root, keep_last=run.config.run.keep_checkpoints, keep_first=updater is None)


def _save_last_group(run: _Run, iteration: Iteration, done: int) -> None:
    """Keep the best and worst rollout of the group that shows most, of all ranks': the rank that has it writes it."""
    found = find_last_group(iteration.groups, iteration.state_seeds, done, run.config.env.action_chunk, iteration.tasks)
    spreads = run.world.gather(None if found is None else found.spread)
    known = [spread for spread in spreads if spread is not None]
    with run.world.together():
        if found is not None and spreads.index(max(known)) == run.world.rank:
            found.save(run.folder)


def _write_videos(config: TrainConfig, folder: Path) -> None:
    group = LastGroup.load(folder)
    if group is not None:
        write_videos(folder, group, config.env.of_each_task()[group.task], make_envs)


def _show(bar: Progress, iteration: Iteration, done: int, seconds_left: float) -> None:
    shown = {"success": "rollout/success_rate", "return": "rollout/return"}
    values = {name: iteration.metrics[key] for name, key in shown.items()}
    numbers = {name: f"{value.value if isinstance(value, Mean) else value:.2f}" for name, value in values.items()}
    bar.advance(done, numbers, seconds_left=seconds_left)
