"""Play an evaluation over several tasks: which tasks, sets and modes, and the failures worth a video."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial

from tgrpo_envs.errors import ConfigError
from tgrpo_trainer.config import EnvConfig, TrainConfig
from tgrpo_trainer.evaluation.evaluate import ALONE, EpisodeSplit, advance, check_state_ids, evaluate
from tgrpo_trainer.evaluation.failures import Failure
from tgrpo_trainer.evaluation.result import Evaluation, Mode, StateSet
from tgrpo_trainer.policy.base import Policy
from tgrpo_trainer.rollout.environment import Envs
from tgrpo_trainer.rollout.rollout import Rollout
from tgrpo_trainer.run.console import progress
from tgrpo_trainer.run.rng import Stream, derive_seed


@dataclass(frozen=True)
class Plan:
    """Everything that decides the result of an evaluation, beside the policy."""

    tasks: tuple[EnvConfig, ...]
    """The environment's settings for each task."""
    counts: Mapping[StateSet, int]
    """States of each set; the first ones are played."""
    modes: tuple[Mode, ...]
    temperature: float
    seed: int
    iteration: int
    """Recorded."""


def chosen_tasks(env: EnvConfig, chosen: Sequence[str], own: EnvConfig) -> tuple[EnvConfig, ...]:
    """The settings for each of the chosen tasks, each once, in the order given, with their indices.

    A reward that is a file belongs to the run's own task; other tasks take the default stages.

    Args:
        env: The settings but for the tasks.
        chosen: Indices or names, or `all`; none = the run's own.
        own: The run's settings.

    Raises:
        UnknownNameError: No such task.
        ConfigError: None was chosen, on another suite than the run's.
    """
    if not chosen and env.suite != own.suite:
        raise ConfigError(
            f"{env.suite} is not the suite the policy comes from, so say which of its tasks: --tasks all, or numbers."
        )
    names = tuple(int(one) if one.isdecimal() else one for one in chosen) or own.tasks
    stages = env.model_copy(update={"tasks": names, "reward": "stages"})
    known = [_index(task) for task in own.of_each_task()] if env.suite == own.suite else []
    tasks = []
    for task in stages.of_each_task():
        reward = env.reward if _index(task) in known or not env.reward_is_file else "stages"
        tasks.append(env.model_copy(update={"tasks": (_index(task),), "reward": reward}))
    return tuple(tasks)


def state_sets(env: EnvConfig) -> tuple[StateSet, ...]:
    """The fixed sets of states that the tasks have: LIBERO publishes some for its own only."""
    return ("heldout", "official") if env.bddl is None else ("heldout",)


def plan_of_run(config: TrainConfig, tasks: tuple[EnvConfig, ...], iteration: int) -> Plan:
    """What a run plays on the way and at its end: both sets of states, greedy and sampled; held-out greedy is first."""
    counts: dict[StateSet, int] = {"heldout": config.evaluation.num_heldout, "official": config.evaluation.num_official}
    return Plan(
        tasks=tasks,
        counts={states: counts[states] for states in state_sets(config.env) if counts[states]},
        modes=("greedy", "sampled"),
        temperature=config.evaluation.temperature,
        seed=derive_seed(config.run.seed, Stream.EVALUATION),
        iteration=iteration,
    )


def evaluate_tasks(
    policy: Policy,
    plan: Plan,
    lend: Callable[[EnvConfig, int], AbstractContextManager[Envs]],
    *,
    num_envs: int,
    num_failures: int = 0,
    shard: EpisodeSplit = ALONE,
    on_more_to_come: Callable[[tuple[Evaluation, ...]], None] | None = None,
) -> tuple[tuple[Evaluation, ...], tuple[Failure, ...]]:
    """Play all of the plan, this process its share, under one progress bar.

    Args:
        policy: Plays; its instruction comes from each task's environment.
        plan: What to play.
        lend: Gives a task's environment for a while.
        num_envs: Members of an environment; fewer are asked for where there are fewer episodes.
        num_failures: Failures to keep of each task, the first ones.
        shard: This process's share; what is returned is the same on every process.
        on_more_to_come: Given the evaluations so far after each task but the last.

    Returns:
        One evaluation for each task, set and mode, in this order, and the failures.

    Raises:
        ConfigError: More states than a set has; nothing was played then.
    """
    evaluations: list[Evaluation] = []
    failures: list[Failure] = []
    kinds = [(states, mode) for states in plan.counts for mode in plan.modes]
    most = max(len(shard.positions(count)) for count in plan.counts.values())
    before = 0
    with progress("Evaluating", _share(plan, shard), shown=shard.rank == 0) as bar:
        for env in plan.tasks:
            kept = _Kept(num_failures)
            with lend(env, max(1, min(num_envs, most))) as envs:
                for states, count in plan.counts.items():  # all sets, before any is played
                    check_state_ids(envs, states, range(count))
                for states, mode in kinds:
                    evaluation = evaluate(
                        policy,
                        envs,
                        env=env,
                        states=states,
                        state_ids=range(plan.counts[states]),
                        mode=mode,
                        temperature=plan.temperature,
                        seed=plan.seed,
                        iteration=plan.iteration,
                        shard=shard,
                        on_progress=partial(advance, bar, before),
                        on_episode=partial(kept.see, env, states, mode, tuple(envs.stage_names)),
                    )
                    evaluations.append(evaluation)
                    before += len(shard.positions(plan.counts[states]))
            everywhere = [one for part in shard.gather(kept.failures) for one in part]
            everywhere.sort(key=lambda one: (kinds.index((one.states, one.mode)), one.state))
            failures += everywhere[:num_failures]
            if on_more_to_come is not None and env is not plan.tasks[-1]:
                on_more_to_come(tuple(evaluations))
    return tuple(evaluations), tuple(failures)


def _index(env: EnvConfig) -> int:
    return env.resolved_task.index


@dataclass
class _Kept:
    """The first failures of one task, without their pictures: these are drawn again for a video."""

    most: int
    failures: list[Failure] = field(default_factory=list)

    def see(
        self, env: EnvConfig, states: StateSet, mode: Mode, stage_names: tuple[str, ...], state: int, member: Rollout
    ) -> None:
        """Keep an episode if it failed and there is room."""
        if not member.trajectory.success and len(self.failures) < self.most:
            self.failures.append(Failure.of(member, stage_names, env=env, states=states, mode=mode, state=state))


def _share(plan: Plan, shard: EpisodeSplit) -> int:
    here = sum(len(shard.positions(count)) for count in plan.counts.values())
    return len(plan.tasks) * len(plan.modes) * here
