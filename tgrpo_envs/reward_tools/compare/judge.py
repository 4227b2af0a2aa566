"""A task's rewards on the same groups: returns, spread and order of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from tgrpo_envs.base_settings import Frozen
from tgrpo_envs.reward_tools.certify.scoring import score_batch
from tgrpo_envs.reward_tools.compare import statistics
from tgrpo_envs.reward_tools.compare.groups import Groups
from tgrpo_envs.rewards import StageSpec, spec_id
from tgrpo_envs.sim.snapshot import FloatArray
from tgrpo_envs.tasks import Task

Reward = Literal["sparse", "compiled", "llm"]
REWARDS: tuple[Reward, ...] = ("sparse", "compiled", "llm")


class Ranking(Frozen):
    """How one reward ranks a task's groups.

    Attributes:
        usable: Groups whose returns differ.
        apart: Mean share of a group's pairs whose returns differ.
        order: Harrell's C over all pairs of episodes of a group.
        order_failures: The same among failed episodes, of which success says nothing.
    """

    usable: int
    apart: float
    order: float
    order_failures: float


class Judgement(Frozen):
    """A task's rewards side by side.

    Attributes:
        suite: LIBERO suite.
        index: Of the task.
        task: Its name.
        groups: G, of eight episodes each.
        successes: Episodes that succeed.
        pairs: Pairs of a group's episodes that the reference orders.
        pairs_failures: Those among failures.
        alike: Mean correlation of a group's returns, language model's with compiled.
        spec_ids: Identity of each spec.
        rankings: Of each reward.
    """

    suite: str
    index: int
    task: str
    groups: int
    successes: int
    pairs: int
    pairs_failures: int
    alike: float
    spec_ids: dict[Reward, str]
    rankings: dict[Reward, Ranking]

    def gain(self) -> float:
        """Order among failures, language model's less compiled."""
        return self.rankings["llm"].order_failures - self.rankings["compiled"].order_failures


def judge(task: Task, groups: Groups, compiled: StageSpec, llm: StageSpec) -> Judgement:
    """Rank the groups under the sparse reward and two specs.

    Raises:
        UnknownNameError: A spec names an entity that the scene lacks.
        SpecError: A spec does not fit the scene or the goal.
    """
    returns: Mapping[Reward, FloatArray] = {
        "sparse": groups.success_N.astype(float),
        "compiled": score_batch(compiled, groups, groups.horizon).returns_TN[-1],
        "llm": score_batch(llm, groups, groups.horizon).returns_TN[-1],
    }
    correlations = [statistics.alike(returns["llm"][rows], returns["compiled"][rows]) for rows in groups.rows]
    orders = {reward: _orders(groups, returns[reward]) for reward in REWARDS}
    every, failures = orders["llm"]
    return Judgement(
        suite=task.suite,
        index=task.index,
        task=task.name,
        groups=len(groups.rows),
        successes=int(groups.success_N.sum()),
        pairs=every.pairs,
        pairs_failures=failures.pairs,
        alike=statistics.mean(correlations),
        spec_ids={"compiled": spec_id(compiled), "llm": spec_id(llm)},
        rankings={
            reward: Ranking(
                usable=sum(statistics.has_spread(returns[reward][rows]) for rows in groups.rows),
                apart=statistics.mean([statistics.told_apart(returns[reward][rows]) for rows in groups.rows]),
                order=orders[reward][0].index,
                order_failures=orders[reward][1].index,
            )
            for reward in REWARDS
        },
    )


def _orders(groups: Groups, returns_N: FloatArray) -> tuple[statistics.Order, statistics.Order]:
    """Order over all pairs of each group, and over those of failures."""
    every, failures = [], []
    for rows in groups.rows:
        ranked = (returns_N[rows], groups.expert_steps_N[rows])
        every.append(statistics.concordance(*ranked))
        failures.append(statistics.concordance(*ranked, among=~groups.success_N[rows]))
    return statistics.pooled(every), statistics.pooled(failures)
