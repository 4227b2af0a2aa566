"""Play an evaluation over several tasks: which tasks, sets and modes, and the failures worth a video."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial

from tgrpo_envs.errors import ConfigError
from tgrpo_envs.tasks import get_task, list_tasks
from tgrpo_trainer.config import EnvConfig, Suite
from tgrpo_trainer.evaluation.evaluate import ALONE, EpisodeSplit, advance, evaluate
from tgrpo_trainer.evaluation.failures import Failure
from tgrpo_trainer.evaluation.result import Evaluation, Mode, StateSet
from tgrpo_trainer.policy.base import Policy
from tgrpo_trainer.rollout.environment import Envs
from tgrpo_trainer.rollout.rollout import Rollout
from tgrpo_trainer.run.console import progress


@dataclass(frozen=True)
class Plan:
    """Everything that decides the result of an evaluation, beside the policy."""

    env: EnvConfig
    """Of every task; suite and task name the run's own."""
    tasks: tuple[int, ...]
    """Indices in the suite."""
    counts: Mapping[StateSet, int]
    """States of each set; the first ones are played."""
    modes: tuple[Mode, ...]
    temperature: float
    seed: int
    iteration: int
    """Recorded."""

    @property
    def num_episodes(self) -> int:
        """Of all tasks together."""
        return len(self.tasks) * len(self.modes) * sum(self.counts.values())


def task_indices(suite: Suite, chosen: Sequence[str], default: int | str | None) -> tuple[int, ...]:
    """Indices of the chosen tasks of a suite, each once, in the order given.

    Args:
        suite: Where they are.
        chosen: Indices or names, or `all`.
        default: The task when none is chosen; None if there is no such default.

    Raises:
        UnknownNameError: No such task.
        ConfigError: None was chosen where there is no default.
    """
    if "all" in chosen:
        return tuple(task.index for task in list_tasks(suite))
    if not chosen:
        if default is None:
            raise ConfigError(
                f"{suite} is not the suite the policy comes from, so say which of its tasks: --tasks all, or numbers."
            )
        return (get_task(suite, default).index,)
    indices = [get_task(suite, int(one) if one.isdigit() else one).index for one in chosen]
    return tuple(dict.fromkeys(indices))


def evaluate_tasks(
    policy: Policy,
    plan: Plan,
    make_envs: Callable[[EnvConfig, int], Envs],
    *,
    num_envs: int,
    num_failures: int = 0,
    shard: EpisodeSplit = ALONE,
) -> tuple[tuple[Evaluation, ...], tuple[Failure, ...]]:
    """Play all of the plan, this process its share, under one progress bar.

    Args:
        policy: Plays; its instruction comes from each task's environment.
        plan: What to play.
        make_envs: Makes a task's environment.
        num_envs: Members of an environment; fewer are made where there are fewer episodes.
        num_failures: Failures to keep of each task, the first ones.
        shard: This process's share; what is returned is the same on every process.

    Returns:
        One evaluation for each task, set and mode, in this order, and the failures.

    Raises:
        ConfigError: More states than a set has.
    """
    evaluations: list[Evaluation] = []
    failures: list[Failure] = []
    kinds = [(states, mode) for states in plan.counts for mode in plan.modes]
    most = max(len(shard.positions(count)) for count in plan.counts.values())
    before = 0
    with progress("Evaluating", _share(plan, shard), shown=shard.rank == 0) as bar:
        for task in plan.tasks:
            env = task_env(plan.env, task)
            kept = _Kept(num_failures)
            with closing(make_envs(env, max(1, min(num_envs, most)))) as envs:
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
    return tuple(evaluations), tuple(failures)


def task_env(env: EnvConfig, task: int) -> EnvConfig:
    """The settings on another task; a reward that is a file belongs to one task, others take the default stages."""
    own = env.task == task or env.task == get_task(env.suite, task).name
    reward = env.reward if own or not env.reward.endswith(".json") else "stages"
    return env.model_copy(update={"task": task, "reward": reward})


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
