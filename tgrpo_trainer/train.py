"""The training run, in the order of the algorithm: clone, then collect groups, compare, update, evaluate, repeat.

Everything random follows from (seed, purpose, iteration), and what an iteration leaves behind is written before the
next one starts. So an interrupted run goes on after its last finished iteration and ends where it would have ended.
"""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tgrpo_trainer.batch import build_batch
from tgrpo_trainer.checkpoint import Checkpoint, latest_checkpoint, load_checkpoint, prune_checkpoints, save_checkpoint
from tgrpo_trainer.config import TrainConfig
from tgrpo_trainer.costs import CostMeter
from tgrpo_trainer.environment import Envs, make_envs
from tgrpo_trainer.evaluate import evaluate_all
from tgrpo_trainer.evaluation_record import save_evaluations
from tgrpo_trainer.fit import out_of_memory_explained, warn_if_too_little
from tgrpo_trainer.metrics import Mean, MetricsWriter, evaluation_metrics, rollout_metrics
from tgrpo_trainer.policy import Policy
from tgrpo_trainer.progress import Progress, Stopwatch, progress, say
from tgrpo_trainer.reference import Reference, make_reference
from tgrpo_trainer.report import write_report
from tgrpo_trainer.report.record import LastGroup, save_last_group
from tgrpo_trainer.report.replay import write_videos
from tgrpo_trainer.rollout import Group, Sampling, collect_groups, to_learn_from
from tgrpo_trainer.rundir import CHECKPOINTS_NAME, CONFIG_NAME, EVALUATIONS_NAME, LAST_NAME, iteration_name
from tgrpo_trainer.schedule import Schedule
from tgrpo_trainer.seeds import Stream, derive_seed, derive_seeds, make_generator, make_generators
from tgrpo_trainer.start import pin_checkpoint, resolve_device, start_policy
from tgrpo_trainer.tracking import import_wandb, start_wandb
from tgrpo_trainer.update import PolicyUpdater


@dataclass(frozen=True)
class Iteration:
    """What one iteration of the algorithm leaves behind, beside the changed policy."""

    groups: tuple[Group, ...]
    state_seeds: list[int]
    """Seed of each group's start state."""
    metrics: dict[str, float | Mean]


def train(config: TrainConfig) -> Path:
    """Do the run in `config.run.path`, or what is left of it, and write its report.

    Returns:
        The report's path.

    Raises:
        TgrpoError: See `start_policy`, `PolicyUpdater.update` and `load_checkpoint`.
    """
    config = pin_checkpoint(config)
    folder = _open_folder(config)
    with closing(make_envs(config.env, config.rollout.num_envs)) as envs, out_of_memory_explained(config):
        stopwatch = Stopwatch()
        start = _last_or_cloned(config, folder, envs, stopwatch)
        warn_if_too_little(config, start.policy)
        policy = start.policy.to(resolve_device(config.run.device))
        updater = _make_updater(config, folder, start)
        schedule = Schedule.of(config)
        schedule.restore(start.state.get("pace_s", []))
        done = start.iteration
        with (
            closing(MetricsWriter(folder, next_iteration=done + 1, wandb=start_wandb(folder, config))) as log,
            progress("TGRPO", config.run.iterations, done=done) as bar,
        ):
            while True:
                is_last = schedule.is_last(done, stopwatch.elapsed_s)
                if is_last or schedule.is_evaluation_due(done):
                    evaluate_once(config, folder, envs, updater, done, schedule, stopwatch, log)
                if is_last:
                    break
                begun = time.monotonic()
                iteration = run_iteration(config, envs, policy, updater, done)
                done += 1
                log.write(done, iteration.metrics)
                save_last_group(folder, iteration.groups, iteration.state_seeds, done, config.env.action_chunk)
                schedule.iteration_s.append(time.monotonic() - begun)
                _save(folder / LAST_NAME, updater, done, stopwatch, schedule)
                prune_checkpoints(folder / LAST_NAME, keep_last=1)
                _show(bar, iteration, done, schedule.seconds_left(done, stopwatch.elapsed_s))
    if done < config.run.iterations:
        planned, minutes = config.run.iterations, config.run.max_minutes
        say(f"Stopped after {done} of {planned} iterations: one more would not fit into {minutes} minutes.")
    _write_videos(config, folder)
    return write_report(folder)


def clone(config: TrainConfig) -> Path:
    """Only the supervised start, demonstrations and cloning; `train` goes on from there.

    Returns:
        The checkpoint of the cloned policy.
    """
    config = pin_checkpoint(config)
    folder = _open_folder(config)
    with closing(make_envs(config.env, 1)) as envs:
        _last_or_cloned(config, folder, envs, Stopwatch())
    checkpoint = latest_checkpoint(folder / LAST_NAME)
    assert checkpoint is not None
    return checkpoint


def run_iteration(config: TrainConfig, envs: Envs, policy: Policy, updater: PolicyUpdater, index: int) -> Iteration:
    """One iteration of TGRPO: collect groups, compare within them, update the policy.

    Args:
        config: The run's settings.
        envs: `config.rollout.num_envs` members.
        policy: Acts, and learns in place.
        updater: Its optimiser.
        index: Finished iterations before this one.
    """
    seed, rollout = config.run.seed, config.rollout
    seeds = derive_seeds(seed, Stream.STATES, index, count=envs.num_envs)
    meter = CostMeter(policy.device)
    groups, played = collect_groups(
        policy,
        envs,
        Sampling(
            rollout.temperature,
            generators=make_generators(seed, Stream.ACTIONS, index, count=envs.num_envs, device=policy.device),
        ),
        seeds=seeds,
        num_generations=rollout.num_generations,
        end=rollout.end,
    )
    collected = time.monotonic()
    batch, batch_metrics = build_batch(
        to_learn_from(groups, envs.task_description), config.tgrpo, drop_uniform=config.tgrpo.drop_uniform_groups
    )
    update_metrics = {"optimiser_steps": 0.0}
    if batch is not None:
        policy.train()
        update_metrics = updater.update(batch, index, make_generator(seed, Stream.SHUFFLE, index))
    metrics: dict[str, float | Mean] = {
        **rollout_metrics(groups, envs.stage_names),
        **batch_metrics,
        **{f"update/{name}": value for name, value in update_metrics.items()},
        **meter.metrics(env_s=played.env_s, policy_s=played.policy_s, update_s=time.monotonic() - collected),
    }
    return Iteration(groups, seeds[:: rollout.num_generations], metrics)


def evaluate_once(
    config: TrainConfig,
    folder: Path,
    envs: Envs,
    updater: PolicyUpdater,
    done: int,
    schedule: Schedule,
    stopwatch: Stopwatch,
    log: MetricsWriter,
) -> None:
    """Evaluate the policy after `done` iterations, keep it as a checkpoint and rewrite the report.

    Does nothing if its file is on disk already; the file is written last, so where it is, the checkpoint is too.
    """
    path = folder / EVALUATIONS_NAME / f"{iteration_name(done)}.json"
    if path.is_file():
        return
    begun = time.monotonic()
    evaluations = evaluate_all(updater.policy, envs, config, iteration=done)
    _save(folder / CHECKPOINTS_NAME, updater, done, stopwatch, schedule, score=evaluations[0].success_rate)
    log.write(done, evaluation_metrics(evaluations))
    save_evaluations(path, evaluations)
    for evaluation in evaluations:
        say(f"After {done:3d} iterations, {evaluation.states}, {evaluation.mode}: {evaluation}")
    write_report(folder)
    schedule.evaluation_s = time.monotonic() - begun


def _open_folder(config: TrainConfig) -> Path:
    """The run's folder, with the settings in it before anything else, so that it can be resumed from the start."""
    if config.run.wandb_project is not None:
        import_wandb()  # missing? Better said now than after the demonstrations.
    folder = config.run.path
    folder.mkdir(parents=True, exist_ok=True)
    config.save(folder / CONFIG_NAME)
    return folder


def _last_or_cloned(config: TrainConfig, folder: Path, envs: Envs, stopwatch: Stopwatch) -> Checkpoint:
    """The checkpoint to go on from; where there is none, that of the freshly cloned policy (iteration 0)."""
    last = latest_checkpoint(folder / LAST_NAME)
    if last is None:
        policy = start_policy(config, folder, envs.task_description)
        state = {"elapsed_s": stopwatch.elapsed_s}
        last = save_checkpoint(folder / LAST_NAME, iteration=0, policy=policy, state=state)
    # An evaluation's checkpoint has the same weights, and the minutes of the evaluation on its clock.
    evaluated = folder / CHECKPOINTS_NAME / last.name
    checkpoint = load_checkpoint(evaluated if evaluated.is_dir() else last)
    if checkpoint.iteration > 0:
        stopwatch.add(checkpoint.state["elapsed_s"])
    return checkpoint


def _make_updater(config: TrainConfig, folder: Path, start: Checkpoint) -> PolicyUpdater:
    """The optimiser as it was after the checkpoint, and the cloned policy as the reference of the KL term."""
    if config.update.optimizer == "adamw" and next(start.policy.parameters()).dtype != torch.float32:
        say("Warning: adamw loses steps smaller than 1/256 of a weight in half precision; see --update.optimizer.")
    updater = PolicyUpdater(
        start.policy,
        _make_reference(config, folder, start) if config.tgrpo.beta > 0 else None,
        objective=config.tgrpo,
        optimiser=config.update,
        temperature=config.rollout.temperature,
        total_iterations=config.run.iterations,
        microbatch_size=config.update.microbatch_size,
        rounding_seed=derive_seed(config.run.seed, Stream.ROUNDING),
    )
    if "optimizer" in start.state:
        updater.load_state_dict(start.state["optimizer"])
    return updater


def _make_reference(config: TrainConfig, folder: Path, start: Checkpoint) -> Reference:
    """The cloned policy, iteration 0."""

    def load_first() -> Policy | None:
        return load_checkpoint(folder / CHECKPOINTS_NAME / iteration_name(0)).policy if start.iteration > 0 else None

    return make_reference(config, start.policy, load_first)


def _save(
    root: Path,
    updater: PolicyUpdater,
    done: int,
    stopwatch: Stopwatch,
    schedule: Schedule,
    *,
    score: float | None = None,
) -> None:
    state: dict[str, Any] = {
        "optimizer": updater.state_dict(),
        "elapsed_s": stopwatch.elapsed_s,
        "pace_s": schedule.pace_s,
    }
    save_checkpoint(root, iteration=done, policy=updater.policy, state=state, score=score)


def _write_videos(config: TrainConfig, folder: Path) -> None:
    group = LastGroup.load(folder)
    if group is not None:
        write_videos(folder, group, config.env, make_envs)


def _show(bar: Progress, iteration: Iteration, done: int, seconds_left: float) -> None:
    shown = {"success": "rollout/success_rate", "return": "rollout/return"}
    values = {name: iteration.metrics[key] for name, key in shown.items()}
    numbers = {name: f"{value.value if isinstance(value, Mean) else value:.2f}" for name, value in values.items()}
    bar.advance(done, numbers, seconds_left=seconds_left)
