"""Specs side by side: the statistics on hand-derived numbers, groups and returns on real physics, the tables."""

from __future__ import annotations

import json
import math
from operator import itemgetter
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import kendalltau

from tgrpo_envs.errors import ConfigError
from tgrpo_envs.reward_tools.certify.scoring import score_batch
from tgrpo_envs.reward_tools.compare.commands import compare
from tgrpo_envs.reward_tools.compare.groups import CENSORED, FAULTS, MEMBERS, Groups, draw_clumsiness, load_groups
from tgrpo_envs.reward_tools.compare.judge import Judgement, Ranking, Reward, judge
from tgrpo_envs.reward_tools.compare.statistics import Order, alike, concordance, has_spread, pooled, told_apart
from tgrpo_envs.reward_tools.compare.table import conclusion, suite_rows, verdicts
from tgrpo_envs.rewards import rescore, spec_from_goal
from tgrpo_envs.rewards.shipped import shipped_spec
from tgrpo_envs.scene import Scene, load_scene
from tgrpo_envs.tasks import get_task

TASK = get_task("libero_object", 0)


def test_concordance_counts_pairs_by_hand() -> None:
    # Of the six pairs only (20, 40 steps) is the wrong way round; the unknown time is longer than every known one.
    returns, steps = np.array([1.0, 0.3, 0.4, 0.1]), np.array([0, 20, 40, CENSORED])
    assert concordance(returns, steps) == Order(5.0, 6)
    assert concordance(returns, steps).index == pytest.approx(5 / 6)
    # Without the success three pairs are left, two of them right.
    assert concordance(returns, steps, among=steps != 0) == Order(2.0, 3)


def test_concordance_halves_ties_and_leaves_out_what_the_reference_cannot_order() -> None:
    # Equal returns: half of one pair. Two unknown times, or times less than half a second apart: no pair at all.
    assert concordance(np.array([0.2, 0.2]), np.array([10, 30])) == Order(0.5, 1)
    assert concordance(np.array([0.2, 0.1]), np.array([CENSORED, CENSORED])) == Order(0.0, 0)
    assert concordance(np.array([0.2, 0.1]), np.array([30, 39])) == Order(0.0, 0)
    assert concordance(np.array([0.2, 0.1]), np.array([30, 40])) == Order(1.0, 1)
    assert math.isnan(Order(0.0, 0).index)


def test_concordance_without_ties_is_kendalls_tau_on_another_scale() -> None:
    rng = np.random.default_rng(3)
    returns, steps = rng.permutation(20) / 40, 10 * rng.permutation(20)
    tau = kendalltau(returns, -steps).statistic
    assert concordance(returns, steps).index == pytest.approx((tau + 1) / 2)


def test_spread_and_pooling_by_hand() -> None:
    assert not has_spread(np.zeros(8)) and has_spread(np.array([0.0] * 7 + [1 / 128]))
    # Of the six pairs of four returns one is equal.
    assert told_apart(np.array([0.0, 0.1, 0.1, 0.4])) == pytest.approx(5 / 6)
    assert pooled([Order(1.0, 1), Order(0.5, 3)]) == Order(1.5, 4)
    assert alike(np.array([0.0, 0.1, 0.2]), np.array([0.0, 0.2, 0.4])) == pytest.approx(1.0)
    assert math.isnan(alike(np.zeros(3), np.array([0.0, 0.2, 0.4])))


def test_each_clumsy_episode_has_its_own_fault_alone() -> None:
    drawn = draw_clumsiness(np.random.default_rng(0), 400, median=100.0, longest=140)
    of = {name: drawn.fault_N == row for row, name in enumerate(FAULTS)}
    assert all(mask.any() for mask in of.values())
    assert (drawn.ends_N[of["cut"]] <= 96).all() and (drawn.ends_N[~of["cut"]] == 140).all()
    assert (drawn.opens_N[of["drops"]] <= 95).all() and (drawn.opens_N[~of["drops"]] == 140).all()
    assert (drawn.sigma_N[of["shaky"]] >= 0.3).all() and (drawn.sigma_N[~of["shaky"]] == 0).all()
    missed = np.linalg.norm(drawn.shift_N3, axis=1)
    assert (missed[of["misses"]] >= 0.02).all() and (missed[~of["misses"]] == 0).all()


@pytest.fixture(scope="module")
def scene() -> Scene:
    return load_scene(TASK, "primitive")


@pytest.fixture(scope="module")
def groups(scene: Scene) -> Groups:
    return load_groups(scene, 2)


def test_episodes_of_a_group_share_their_start_and_successes_need_no_more_steps(groups: Groups) -> None:
    start = groups.moments[0].object_pos_NO3
    for rows in groups.rows:
        assert (start[rows] == start[rows][:1]).all()
    assert len(groups.rows) == 2 and len(groups.steps_N) == 2 * MEMBERS
    assert ((groups.expert_steps_N == 0) == groups.success_N).all()
    cut = groups.fault_N == FAULTS.index("cut")
    assert (groups.expert_steps_N[cut] > 0).all()  # nobody succeeds before the end, and the expert goes on from there


def test_returns_are_those_of_each_episode_rescored_alone(scene: Scene, groups: Groups) -> None:
    spec = spec_from_goal(scene.problem, TASK)
    returns = score_batch(spec, groups, groups.horizon).returns_TN[-1]
    for n in (0, MEMBERS + 3):
        moments = slice(groups.steps_N[n] + 1)
        alone = groups.snapshots.map(itemgetter((moments, n)))
        score = rescore(spec, groups.layout, alone, groups.goal_MNC[moments, n], horizon=groups.horizon)
        assert returns[n] == pytest.approx(score.episode_return, abs=1e-12)


def test_two_equal_specs_are_equally_good_and_better_than_sparse(groups: Groups) -> None:
    spec = shipped_spec(TASK, "compiled")
    found = judge(TASK, groups, spec, spec)
    assert found.gain() == 0.0 and found.alike == pytest.approx(1.0)
    assert found.rankings["sparse"].order_failures == 0.5  # it cannot tell failures apart
    assert found.rankings["compiled"].order_failures > 0.7
    assert found.rankings["compiled"].usable == 2


def made_up(index: int, compiled: float, llm: float) -> Judgement:
    """A judgement of two groups with these orders among failures."""
    orders: dict[Reward, float] = {"sparse": 0.5, "compiled": compiled, "llm": llm}
    return Judgement(
        suite="libero_object",
        index=index,
        task=f"task_{index}",
        groups=2,
        successes=1,
        pairs=30,
        pairs_failures=20,
        alike=0.9,
        spec_ids={},
        rankings={
            reward: Ranking(usable=1 if reward == "sparse" else 2, apart=1.0, order=order, order_failures=order)
            for reward, order in orders.items()
        },
    )


def test_a_suite_is_summed_up_by_hand() -> None:
    tasks = [made_up(0, 0.8, 0.9), made_up(1, 0.7, 0.7), made_up(2, 0.6, 0.5), made_up(3, 0.9, math.nan)]
    assert verdicts(tasks) == (1, 1, 1)  # the fourth says nothing
    row = dict(zip(*suite_rows(tasks), strict=True))
    assert (row["usable, sparse"], row["usable, compiled"], row["groups"]) == ("4", "8", "8")
    assert row["C, compiled"] == "0.750" and row["better/equal/worse"] == "1/1/1"
    assert row["llm less compiled [95 %]"].startswith("+0.000 [")
    said = conclusion(tasks, ["libero_90 3"])
    assert "better in 1 tasks, equally in 1, worse in 1" in said and "Not run, 1 tasks: libero_90 3." in said


def test_the_command_writes_table_numbers_and_plot_and_records_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, groups: Groups
) -> None:
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "out"
    text = compare("libero_object", 0, groups=2, recorded=True, out=out)
    assert "alphabet_soup" in text and (out / "compare.png").stat().st_size > 5_000
    numbers = json.loads((out / "compare.json").read_text())["tasks"][0]["rankings"]
    assert f"| {numbers['llm']['order']:.3f} |" in (out / "compare.md").read_text()


def test_groups_that_are_not_there_and_impossible_numbers_are_refused(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="1 or more"):
        compare("libero_object", 0, groups=0)
    monkeypatch.setenv("TGRPO_CACHE", str(tmp_path))
    with pytest.raises(ConfigError, match="not recorded yet"):
        load_groups(scene, 3, record=False)
