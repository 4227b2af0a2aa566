"""The `eval` command: resolves the settings, plays, records, and writes videos of failures."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

from tgrpo_envs.errors import ConfigError
from tgrpo_trainer.config import EnvConfig, EvaluationConfig, TrainConfig
from tgrpo_trainer.evaluation.evaluate import ALONE, EpisodeSplit
from tgrpo_trainer.evaluation.failures import write_failures
from tgrpo_trainer.evaluation.options import EvalOptions
from tgrpo_trainer.evaluation.record import (
    FINISHED_NAME,
    RECORD_NAME,
    EvaluationFile,
    PolicyRecord,
    comparability,
    installed_versions,
)
from tgrpo_trainer.evaluation.result import Evaluation, Mode, StateSet, pool
from tgrpo_trainer.evaluation.source import (
    PolicySource,
    find_source,
    is_published,
    load_source,
    played_tasks,
    policy_digest,
)
from tgrpo_trainer.evaluation.tasks import Plan, chosen_tasks, evaluate_tasks, state_sets
from tgrpo_trainer.policy import policy_kind
from tgrpo_trainer.policy.base import Policy
from tgrpo_trainer.policy.settings import MIN_TEMPERATURE, PolicyConfig
from tgrpo_trainer.rollout.environment import make_envs
from tgrpo_trainer.run.console import say
from tgrpo_trainer.run.rng import Stream, derive_seed

NUM_OFFICIAL = 50
"""LIBERO's initial states of a task."""
PERTURBATION = {"perturb", "perturb_level", "perturb_seed"}
Evaluations = tuple[Evaluation, ...]


def run_evaluation(options: EvalOptions, shard: EpisodeSplit = ALONE) -> EvaluationFile:
    """Evaluate a policy as the options say, and write the record and videos where they want them.

    Args:
        options: What was asked for.
        shard: This process's share of the episodes; process 0 writes.

    Raises:
        ConfigError: Options that do not go together; nothing was played then.
        CheckpointError: A policy that is missing or damaged.
    """
    _check(options)
    source = find_source(options.checkpoint, options.recipe)
    if not is_published(source) and (options.image_size or options.action_chunk or options.policy != PolicyConfig()):
        raise ConfigError(
            "--image-size, --action-chunk, --openvla.* and --smolvla.* say how a published model is used; "
            f"{options.checkpoint} brings its own settings, so leave them out."
        )
    env = chosen_env(options, source.config)
    chosen_tasks(env, options.tasks, source.config.env)  # refuses what does not exist before a policy is loaded
    device = options.device or source.config.run.device
    policy, iteration = load_source(source, env, options.policy, device)
    if shard.rank == 0:
        _tell(source, policy, env, options)
    plan = make_plan(options, source.config, env, policy, iteration)
    used = _policy_record(source, policy, iteration, options.policy)  # before a run that goes on prunes its files
    record = partial(_record, used, str(policy.device), options.num_envs)
    out = options.out if shard.rank == 0 else None
    with _keeping(out, record, len(plan.tasks)) as keep:
        evaluations, failures = evaluate_tasks(
            policy,
            plan,
            lambda task, num_envs: closing(make_envs(task, num_envs)),
            num_envs=options.num_envs,
            num_failures=options.videos,
            shard=shard,
            on_more_to_come=keep,
        )
    file = record(evaluations)
    if out is None:
        return file
    file.save(out)  # before the videos: whatever keeps these from being made, what was counted stays
    if failures:
        file = file.model_copy(update={"videos": write_failures(out, failures, make_envs)})
        file.save(out)
    return file


@contextmanager
def _keeping(
    out: Path | None, record: Callable[[Evaluations], EvaluationFile], num_tasks: int
) -> Iterator[Callable[[Evaluations], None]]:
    """Yield what keeps the tasks that are over, and say where they are if the others are not played."""

    def keep(evaluations: Evaluations) -> None:
        if out is not None:
            record(evaluations).save_finished_tasks(out, num_tasks)

    try:
        yield keep
    except BaseException:
        if out is not None and (out / FINISHED_NAME).exists():
            say(f"The tasks that were finished are kept in {out / FINISHED_NAME}.")
        raise


def chosen_env(options: EvalOptions, config: TrainConfig) -> EnvConfig:
    """The run's environment, changed as the options say.

    On another suite than its own, episodes have that suite's length, and the reward is the default: it does not decide
    success, but a file of stages belongs to one task.
    """
    own = config.env
    changes = {
        "suite": options.suite,
        "assets": options.assets,
        "detail": options.detail,
        "horizon": options.horizon,
        "image_size": options.image_size,
        "action_chunk": options.action_chunk,
        "perturb": None if options.perturb == "none" else options.perturb,
        "perturb_level": options.perturb_level,
        "perturb_seed": options.perturb_seed,
    }
    env = own.model_dump(exclude=PERTURBATION if options.perturb == "none" else None)
    if options.suite not in (None, own.suite):
        env |= {"horizon": None, "tasks": (0,), "bddl": None}
        if own.reward_is_file:
            env["reward"] = "stages"
    chosen = EnvConfig(**env | {name: value for name, value in changes.items() if value is not None})
    if chosen.perturb is None and (options.perturb_level, options.perturb_seed) != (None, None):
        raise ConfigError("--perturb-level and --perturb-seed say which change of a kind; name it with --perturb KIND.")
    return chosen


def make_plan(options: EvalOptions, config: TrainConfig, env: EnvConfig, policy: Policy, iteration: int) -> Plan:
    """Options where they are given, else what the run's own evaluation does."""
    usual: EvaluationConfig = config.evaluation
    sets: tuple[StateSet, ...] = state_sets(env) if options.states == "both" else (options.states,)
    defaults: dict[StateSet, int] = {"heldout": usual.num_heldout, "official": NUM_OFFICIAL}
    modes: tuple[Mode, ...] = ("greedy", "sampled") if options.mode == "both" else (options.mode,)
    seen = env.model_copy(update={"image_size": policy.image_size, "action_chunk": policy.action_chunk})
    return Plan(
        tasks=chosen_tasks(seen, options.tasks, config.env),
        counts={states: defaults[states] if options.num_states is None else options.num_states for states in sets},
        modes=modes,
        temperature=usual.temperature if options.temperature is None else options.temperature,
        seed=derive_seed(config.run.seed, Stream.EVALUATION) if options.seed is None else options.seed,
        iteration=iteration,
    )


def _tell(source: PolicySource, policy: Policy, env: EnvConfig, options: EvalOptions) -> None:
    """Say what nobody chose, and what speaks against what was."""
    if not (options.suite and options.tasks) and (played := played_tasks(source)) is not None:
        say(played)
    if not is_published(source) and (doubt := policy.doubt_suite(env.suite)) is not None:
        say(f"Warning: {doubt}")


def _check(options: EvalOptions) -> None:
    at_least = {"num_states": 1, "num_envs": 1, "horizon": 1, "videos": 0, "seed": 0}
    for name, smallest in at_least.items():
        value = getattr(options, name)
        if value is not None and value < smallest:
            raise ConfigError(f"--{name.replace('_', '-')} is {value}; give {smallest} or more.")
    if options.temperature is not None and not MIN_TEMPERATURE <= options.temperature < math.inf:
        raise ConfigError(
            f"--temperature is {options.temperature}; give a number of at least {MIN_TEMPERATURE:g}, or --mode greedy."
        )
    if options.videos and options.out is None:
        raise ConfigError("--videos are written beside the record; say where with --out FOLDER.")
    if options.out is not None and (options.out / RECORD_NAME).exists():
        raise ConfigError(f"{options.out} holds an evaluation already; give another folder with --out.")
    if options.out is not None and (options.out / FINISHED_NAME).exists():
        raise ConfigError(
            f"{options.out} holds the tasks of an evaluation that was not finished; move {FINISHED_NAME} away, or give "
            "another folder with --out."
        )


def _record(used: PolicyRecord, device: str, num_envs: int, evaluations: Evaluations) -> EvaluationFile:
    return EvaluationFile(
        policy=used,
        versions=installed_versions(),
        device=device,
        num_envs=num_envs,
        note=comparability(evaluations),
        evaluations=evaluations,
        pooled=pool(evaluations),
        videos=(),
    )


def _policy_record(source: PolicySource, policy: Policy, iteration: int, used: PolicyConfig) -> PolicyRecord:
    kind = policy_kind(source.policy_folder)
    published = {kind: getattr(used, kind)} if is_published(source) else {}
    return PolicyRecord(
        path=str(Path(source.folder).resolve()),
        digest=policy_digest(source.policy_folder),
        kind=kind,
        image_size=policy.image_size,
        action_chunk=policy.action_chunk,
        iteration=iteration,
        **published,
    )
