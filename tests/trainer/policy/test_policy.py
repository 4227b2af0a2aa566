"""nano: sampling and scoring agree, every input matters, and it survives saving."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from tests.helpers.made_up import flat_gradient, random_input, tiny_nano
from tgrpo_envs.errors import CheckpointError, ConfigError, UnknownNameError
from tgrpo_trainer.policy import load_policy
from tgrpo_trainer.policy.nano.policy import NanoConfig, NanoPolicy
from tgrpo_trainer.policy.tokens import score


def test_the_default_network_is_the_size_it_says() -> None:
    policy = NanoPolicy(NanoConfig())
    assert 0.6e6 < sum(parameter.numel() for parameter in policy.parameters()) < 1.0e6
    assert (policy.image_size, policy.action_chunk, policy.tokens_per_decision) == (64, 4, 28)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.6])
@pytest.mark.parametrize("greedy", [True, False])
def test_log_prob_gives_the_numbers_sample_gave(temperature: float, greedy: bool) -> None:
    policy, obs = tiny_nano(action_chunk=2), random_input(6)
    sample = policy.sample(obs, temperature=temperature, greedy=greedy, generator=torch.Generator().manual_seed(1))
    scored = policy.log_prob(obs, sample.choices_NK, temperature)
    torch.testing.assert_close(scored.logp_NK, sample.logp_NK)
    assert sample.choices_NK.shape == (6, 14) and sample.actions_NCA.shape == (6, 2, 7)
    assert sample.logp_NK.dtype == scored.logp_NK.dtype == torch.float32
    assert torch.equal(policy.encode_actions(sample.actions_NCA), sample.choices_NK)
    assert scored.logp_NK.requires_grad and not sample.logp_NK.requires_grad
    if greedy:
        assert scored.greedy_NK.all()


def test_a_held_token_moves_the_arm_for_several_steps() -> None:
    policy, obs = tiny_nano(action_chunk=4, steps_per_token=2), random_input(3)
    sample = policy.sample(obs, generator=torch.Generator().manual_seed(1))
    assert sample.choices_NK.shape == sample.logp_NK.shape == (3, 14) and sample.actions_NCA.shape == (3, 4, 7)
    assert torch.equal(sample.actions_NCA[:, 0], sample.actions_NCA[:, 1])
    assert torch.equal(sample.actions_NCA[:, 2], sample.actions_NCA[:, 3])
    assert torch.equal(sample.actions_NCA[:, ::2], policy.bins.decode(sample.choices_NK))
    torch.testing.assert_close(policy.log_prob(obs, sample.choices_NK).logp_NK, sample.logp_NK)


@pytest.mark.parametrize("steps", [0, 3])
def test_tokens_that_do_not_fill_the_chunk_are_refused(steps: int) -> None:
    with pytest.raises(ConfigError, match="divisor"):
        NanoConfig(action_chunk=4, steps_per_token=steps)


def test_rows_do_not_see_each_other_and_padding_words_do_not_count() -> None:
    policy, obs = tiny_nano(), random_input(8)
    tokens_NK = torch.zeros(8, 7, dtype=torch.int64)
    whole = policy.log_prob(obs, tokens_NK).logp_NK
    alone = policy.log_prob(obs.rows(slice(3, 4)), tokens_NK[:1]).logp_NK
    torch.testing.assert_close(whole[3:4], alone)
    padded = dataclasses.replace(obs, instruction_NL=torch.nn.functional.pad(obs.instruction_NL, (0, 4)))
    torch.testing.assert_close(policy.log_prob(padded, tokens_NK).logp_NK, whole)


@pytest.mark.parametrize("num_rows", [0, 1, 31, 32, 75])
def test_cutting_rows_into_blocks_changes_neither_output_nor_gradient(num_rows: int) -> None:
    policy, obs = tiny_nano(), random_input(num_rows)
    tokens_NK = torch.ones(num_rows, 7, dtype=torch.int64)
    scored = policy(obs, tokens_NK).logp_NK
    scored.sum().backward()
    blocked = flat_gradient(policy)
    policy.zero_grad()
    uncut = score(policy.block_outputs(obs).view(num_rows, 7, 5), tokens_NK, 1.0).logp_NK
    uncut.sum().backward()
    torch.testing.assert_close(scored, uncut)
    torch.testing.assert_close(blocked, flat_gradient(policy), rtol=1e-4, atol=1e-5)


def test_on_a_cpu_the_network_sees_six_numbers_of_rows_only() -> None:
    policy, seen = tiny_nano(), set()
    policy.trunk.register_forward_hook(lambda _module, given, _output: seen.add(len(given[0])))
    for num_rows in range(1, 100):
        policy.sample(random_input(num_rows))
    assert seen == {1, 2, 4, 8, 16, 32}


@pytest.mark.parametrize("name", ["agentview_NHWC", "wrist_NHWC", "proprio_NP", "instruction_NL"])
def test_every_input_reaches_the_action(name: str) -> None:
    policy, obs = tiny_nano(), random_input(4)
    tokens_NK = torch.zeros(4, 7, dtype=torch.int64)
    changed = dataclasses.replace(obs, **{name: getattr(random_input(4, seed=9), name)})
    difference = policy.log_prob(changed, tokens_NK).logp_NK - policy.log_prob(obs, tokens_NK).logp_NK
    assert (difference.abs().sum(1) > 1e-5).all()


def test_drawing_is_repeatable_with_a_generator() -> None:
    policy, obs = tiny_nano(), random_input(16)
    draws = [policy.sample(obs, generator=torch.Generator().manual_seed(seed)).choices_NK for seed in (3, 3, 4)]
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])


def test_save_and_load(tmp_path: Path) -> None:
    policy, obs = tiny_nano(seed=5, action_chunk=3), random_input(4)
    policy.save(tmp_path)
    loaded = load_policy(tmp_path)
    assert isinstance(loaded, NanoPolicy) and loaded.config == policy.config
    tokens_NK = torch.zeros(4, 21, dtype=torch.int64)
    assert torch.equal(loaded.log_prob(obs, tokens_NK).logp_NK, policy.log_prob(obs, tokens_NK).logp_NK)


def test_loading_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"config\.json"):
        load_policy(tmp_path)
    tiny_nano().save(tmp_path)
    config_file, weights_file = tmp_path / "config.json", tmp_path / "policy.safetensors"
    config, weights = json.loads(config_file.read_text()), weights_file.read_bytes()

    weights_file.write_bytes(weights[: len(weights) // 2])
    with pytest.raises(CheckpointError, match=r"policy\.safetensors"):
        load_policy(tmp_path)
    weights_file.write_bytes(weights)
    for change, error in (
        ({"kind": "nan0"}, UnknownNameError),
        ({"num_bins": 9}, CheckpointError),
        ({"image_size": 17}, CheckpointError),
        ({"colour": "blue"}, CheckpointError),
    ):
        config_file.write_text(json.dumps({**config, **change}))
        with pytest.raises(error):
            load_policy(tmp_path)


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match="multiple of 16"):
        NanoConfig(image_size=70)
    with pytest.raises(ConfigError, match="at least 1"):
        NanoConfig(action_chunk=0)
