"""nano_gaussian: its densities are torch's, cloning fits mean and spread, and the unchanged trainer trains it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributions import Normal

from tests.helpers.made_up import IMAGE_SIZE, flat_parameters, random_input
from tests.helpers.runs import assert_same_run, evaluated, finite
from tests.helpers.toy_run import make_toy_envs, toy_config
from tgrpo_envs.errors import CheckpointError, ConfigError
from tgrpo_trainer.bc.behaviour_cloning import train_sft
from tgrpo_trainer.bc.dataset import DemoDataset
from tgrpo_trainer.config import SftConfig, TrainConfig
from tgrpo_trainer.metrics.metrics import read_metrics
from tgrpo_trainer.policy import load_policy
from tgrpo_trainer.policy.nano.gaussian import NanoGaussianConfig, NanoGaussianPolicy
from tgrpo_trainer.policy.nano.settings import NanoGaussianSettings
from tgrpo_trainer.policy.settings import PolicyConfig
from tgrpo_trainer.train import train


def tiny(seed: int = 0, **config: Any) -> NanoGaussianPolicy:
    torch.manual_seed(seed)
    return NanoGaussianPolicy(NanoGaussianConfig(**{"image_size": IMAGE_SIZE, "action_chunk": 2, **config}))


@pytest.mark.parametrize("temperature", [0.25, 1.0, 1.6])
@pytest.mark.parametrize("greedy", [True, False])
def test_log_probabilities_are_those_of_torch_before_clipping(temperature: float, greedy: bool) -> None:
    policy, obs = tiny(initial_std=1.5), random_input(40)
    sample = policy.sample(obs, temperature=temperature, greedy=greedy, generator=torch.Generator().manual_seed(1))
    scored = policy.log_prob(obs, sample.choices_NK, temperature)
    # Divided by the temperature, the logarithm of a density is that of a Gaussian wider by its root.
    theirs: Any = Normal(policy.outputs(obs), torch.tensor(1.5 * math.sqrt(temperature)))
    torch.testing.assert_close(scored.logp_NK, theirs.log_prob(sample.choices_NK))
    torch.testing.assert_close(scored.entropy_NK, theirs.entropy())
    assert torch.equal(sample.logp_NK, scored.logp_NK) and scored.logp_NK.requires_grad
    assert sample.choices_NK.dtype == sample.logp_NK.dtype == torch.float32
    assert torch.equal(sample.actions_NCA.flatten(1), sample.choices_NK.clamp(-1, 1))
    if greedy:
        assert torch.equal(sample.choices_NK, theirs.mean) and scored.greedy_NK.all()
    else:
        assert (sample.choices_NK.abs() > 1).any()  # some were clipped


def test_what_is_drawn_has_the_spread_it_says() -> None:
    policy, obs = tiny(initial_std=0.3), random_input(2000)
    noise = policy.sample(obs, temperature=4.0, generator=torch.Generator().manual_seed(0)).choices_NK
    noise = noise - policy.outputs(obs).detach()
    assert noise.mean().abs() < 0.02 and noise.std() == pytest.approx(0.6, rel=0.02)
    with pytest.raises(ConfigError, match="temperature is 0"):
        policy.sample(obs, temperature=0.0)


def test_a_held_draw_moves_the_arm_for_several_steps() -> None:
    policy, obs = tiny(action_chunk=4, steps_per_draw=2), random_input(3)
    sample = policy.sample(obs)
    assert sample.choices_NK.shape == (3, 14) and sample.actions_NCA.shape == (3, 4, 7)
    assert torch.equal(sample.actions_NCA[:, ::2], sample.actions_NCA[:, 1::2])
    ran_NC = torch.arange(4) < torch.tensor([[1], [2], [3]])
    assert policy.counted(ran_NC).sum(1).tolist() == [7, 7, 14]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"steps_per_draw": 3}, "steps_per_draw is 3"),
        ({"min_std": 0.6}, "initial_std is 0.5 and its min_std 0.6"),
        ({"min_std": 0.0}, "above 0"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        tiny(**settings)


def test_save_and_load(tmp_path: Path) -> None:
    policy, obs = tiny(seed=3, min_std=0.1), random_input(4)
    policy.save(tmp_path)
    loaded = load_policy(tmp_path)
    assert isinstance(loaded, NanoGaussianPolicy) and loaded.config == policy.config
    choices_NK = torch.zeros(4, 14)
    assert torch.equal(loaded.log_prob(obs, choices_NK).logp_NK, policy.log_prob(obs, choices_NK).logp_NK)
    (tmp_path / "policy.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"policy\.safetensors"):
        load_policy(tmp_path)


def test_cloning_fits_the_mean_and_the_spread() -> None:
    seen = random_input(64)
    noisy = torch.arange(14) % 2 == 0  # every other number is a coin of +-0.4; the others are exactly 0.25
    coins_MK = torch.randint(0, 2, (64, 14), generator=torch.Generator().manual_seed(1)) * 0.8 - 0.4
    dataset = DemoDataset(
        agentview_MHWC=torch.zeros_like(seen.agentview_NHWC),  # one state for all, so that no coin can be foreseen
        wrist_MHWC=torch.zeros_like(seen.wrist_NHWC),
        proprio_MP=torch.zeros_like(seen.proprio_NP),
        actions_MCA=torch.where(noisy, coins_MK, torch.tensor(0.25)).view(64, 2, 7),
        valid_MC=torch.ones(64, 2, dtype=torch.bool),
        task_M=torch.zeros(64, dtype=torch.int64),
        instructions=("pick up the soup",),
    )
    policy = tiny(min_std=0.05)
    config = SftConfig(max_steps=300, batch_size=64, learning_rate=3e-2)
    measured = train_sft(policy, dataset, config=config, generator=torch.Generator().manual_seed(0))
    std_K = policy._std(1.0).detach()
    assert ((std_K[noisy] - 0.4).abs() < 0.04).all() and (std_K[~noisy] < 0.1).all()
    # A coin's mean is neither of its sides.
    assert measured["accuracy"] == pytest.approx(0.5, abs=0.05)


def gaussian_run(folder: Path, iterations: int, **update: Any) -> TrainConfig:
    config = toy_config(folder, iterations)
    return config.replace(
        policy=PolicyConfig(kind="nano_gaussian", nano_gaussian=NanoGaussianSettings(initial_std=1.0)),
        rollout={"num_groups": 4, "num_generations": 8},
        objective={"kind": "stage_return", "anchor": "clock", "trajectory_weight": 0.7, "beta": 0.001},
        update={"num_iterations": 2, "minibatch_size": 128, "warmup_iterations": 0, **update},
        evaluation={"every": iterations, "num_heldout": 20, "num_official": 2},
    )


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tgrpo_trainer.train.make_envs", make_toy_envs)
    monkeypatch.setattr("tgrpo_trainer.train.write_report", lambda folder: folder / "report.html")
    monkeypatch.setattr("tgrpo_trainer.train._write_videos", lambda *_: None)


def test_the_trainer_teaches_it_the_toy_task(tmp_path: Path, toy: None) -> None:
    train(gaussian_run(tmp_path / "run", 12, learning_rate=3e-3))
    before, after = (evaluated(tmp_path / "run")[f"iteration_0000{i}.json"][0] for i in ("00", "12"))
    assert (before.success_rate, before.mode) == (0.0, "greedy") and after.success_rate >= 0.5


def test_four_iterations_are_two_and_two(tmp_path: Path, toy: None) -> None:
    for name, lengths in (("whole", [4]), ("parts", [2, 4])):
        for iterations in lengths:
            config = gaussian_run(tmp_path / name, iterations, learning_rate=1e-3, final_learning_rate_ratio=1.0)
            train(config.replace(evaluation={"every": 2, "num_heldout": 4, "num_official": 2}))
    assert_same_run(tmp_path / "parts", tmp_path / "whole")


@pytest.mark.parametrize("old_logp", ["sampled", "scored"])
def test_the_first_ratio_is_one(tmp_path: Path, toy: None, old_logp: str) -> None:
    config = gaussian_run(tmp_path / "run", 1, num_iterations=1, minibatch_size=10**6, microbatch_size=64)
    train(config.replace(objective={**config.objective.model_dump(), "old_logp": old_logp}))
    (row,) = (finite(row) for row in read_metrics(tmp_path / "run") if "update/ratio_max" in row)
    # Rows that were drawn beside others may differ in their last bit; scored again in the same blocks they do not.
    assert row["update/ratio_max"] == (1.0 if old_logp == "scored" else pytest.approx(1.0, abs=1e-5))
    assert row["update/grad_norm"] > 0


def test_equal_seeds_give_equal_weights() -> None:
    assert torch.equal(flat_parameters(tiny(1)), flat_parameters(tiny(1)))
    assert not torch.equal(flat_parameters(tiny(1)), flat_parameters(tiny(2)))
