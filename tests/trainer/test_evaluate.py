"""Evaluation: the interval against published numbers, exact counts on a known task, independence of the batch size."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scripted_policy import StraightPolicy
from toy_env import ToyReach

from tgrpo_envs.errors import CheckpointError, ConfigError
from tgrpo_trainer.config import EnvConfig
from tgrpo_trainer.evaluate import evaluate, load_evaluations, save_evaluations, wilson_interval
from tgrpo_trainer.policy import NanoConfig, NanoPolicy


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        # Newcombe (1998), Statistics in Medicine 17, table I, method 3 (score without continuity correction).
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
        # By symmetry with 0/20.
        (20, 20, 0.8389, 1.0000),
    ],
)
def test_wilson_interval_gives_the_published_numbers(successes, trials, low, high):
    assert wilson_interval(successes, trials) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_interval_solves_its_defining_equation(counts):
    successes, trials = counts
    rate = successes / trials
    for bound in wilson_interval(successes, trials):
        # A bound p is where the score test just rejects: (k/n - p)^2 = z^2 p (1 - p) / n.
        assert (rate - bound) ** 2 == pytest.approx(1.959963984540054**2 * bound * (1 - bound) / trials, abs=1e-9)


@pytest.mark.parametrize(("successes", "trials"), [(-1, 5), (6, 5), (0, 0)])
def test_wilson_interval_refuses_what_is_no_proportion(successes, trials):
    with pytest.raises(ValueError, match="proportion"):
        wilson_interval(successes, trials)


def evaluate_toy(policy, num_envs, ids, mode="greedy", **toy):
    return evaluate(
        policy, ToyReach(num_envs=num_envs, **toy), env=EnvConfig(), states="heldout", state_ids=ids, mode=mode
    )


def test_every_state_is_counted_once_with_length_return_and_stages():
    told = []
    result = evaluate(
        StraightPolicy(),
        ToyReach(num_envs=4),
        env=EnvConfig(),
        states="official",
        state_ids=range(10),
        mode="greedy",
        on_progress=told.append,
    )
    assert (result.num_successes, result.num_episodes) == (10, 10)
    assert result.interval == wilson_interval(10, 10)
    assert [one.state for one in result.episodes] == list(range(10))
    assert {(one.control_steps, one.total_reward, one.num_stages) for one in result.episodes} == {(7, 1.0, 2)}
    assert result.stage_histogram() == [0, 0, 10]
    assert told == [4, 7, 10]
    assert str(result) == "10/10 = 100% [72%, 100%]"


def test_greedy_results_do_not_depend_on_the_number_of_environments():
    torch.manual_seed(7)
    policy = NanoPolicy(NanoConfig(image_size=16, action_chunk=2))
    with torch.no_grad():  # a random policy hardly moves: make it decisive, so that episodes differ
        policy.head.weight.mul_(30)
    few, many = (evaluate_toy(policy, num_envs, range(24), horizon=40) for num_envs in (3, 16))
    assert few.episodes == many.episodes
    assert {one.total_reward for one in few.episodes} == {0.0, 0.5, 1.0}


def test_a_diverged_simulation_is_no_success_and_visible():
    result = evaluate_toy(StraightPolicy(), 2, [0, 1], diverge_at={1: 1})
    assert [one.end for one in result.episodes] == ["success", "diverged"]
    assert result.num_successes == 1
    assert result.stage_histogram() == [1, 0, 1]


def test_sampled_evaluations_repeat_with_their_seed():
    first, second = (evaluate_toy(StraightPolicy(speed=0.3, noise=1.0), 4, range(8), "sampled") for _ in range(2))
    assert first == second


def test_sampled_results_do_not_depend_on_the_number_of_environments():
    policy = StraightPolicy(speed=0.5, noise=0.5)
    few, many = (evaluate_toy(policy, num_envs, [*range(12), *[5] * 7], "sampled") for num_envs in (3, 16))
    assert few.episodes == many.episodes
    again = [one for one in few.episodes if one.state == 5]
    assert len({one.control_steps for one in again}) > 1  # a state given again is another trial


@pytest.mark.parametrize("ids", [[], [40], [-1]])
def test_states_outside_the_set_are_refused(ids):
    with pytest.raises(ConfigError, match="rows 0 to 39"):
        evaluate_toy(StraightPolicy(), 2, ids)


def test_results_come_back_from_disk(tmp_path):
    result = evaluate_toy(StraightPolicy(), 2, [0, 1, 2])
    path = tmp_path / "evaluations" / "iteration_000000.json"
    save_evaluations(path, [result])
    assert load_evaluations(path) == (result,)
    path.write_text("[{}]")
    with pytest.raises(CheckpointError, match="iteration_000000"):
        load_evaluations(path)
