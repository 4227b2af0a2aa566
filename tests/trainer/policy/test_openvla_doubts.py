"""A checkpoint decoded another way than it was trained says so by its first decisions, once, with what to set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.helpers.tiny_openvla import NUM_BINS, VOCAB_END, openvla_input, tiny_openvla
from tests.helpers.toy_run import make_toy_envs
from tests.trainer.policy.test_openvla_policy import reference_logits as autoregressive_logits
from tgrpo_trainer.config import EnvConfig
from tgrpo_trainer.policy import load_policy
from tgrpo_trainer.policy.openvla.decoding import parallel_hidden, teacher_forced_hidden
from tgrpo_trainer.policy.openvla.doubts import Decoding, find_doubt
from tgrpo_trainer.policy.openvla.policy import OpenVlaPolicy
from tgrpo_trainer.rollout.rollout import Sampling, play
from tgrpo_trainer.types import PolicyInput

TEXTS = ["pick up the bowl", "reach the middle", "reach"]
ACTIONS = slice(VOCAB_END - NUM_BINS, VOCAB_END)
SETTINGS: dict[Decoding, dict[str, Any]] = {
    "autoregressive": {},
    "parallel": {"decoding": "parallel", "action_chunk": 8},
}


def trained_for(decoding: Decoding, policy: OpenVlaPolicy, obs: PolicyInput) -> OpenVlaPolicy:
    """Make its head give action tokens all probability where it is decoded this way, and none where the other way.

    A linear rule between the hidden states of both, found by least squares, is added to the action rows of the head.
    """
    model = policy.model
    tokens_NK = policy.sample(obs, greedy=True).choices_NK
    with torch.no_grad():
        prefix = policy._prefix(obs)
        one_by_one_MD = teacher_forced_hidden(model, prefix, policy.codec.token_ids(tokens_NK[:, :7])).flatten(0, 1)
        parallel_MD = parallel_hidden(model, prefix, 56).flatten(0, 1)
        sign = 1.0 if decoding == "parallel" else -1.0
        wanted_M1 = torch.cat([-30.0 * torch.ones(len(one_by_one_MD), 1), 30.0 * torch.ones(len(parallel_MD), 1)])
        hidden_MD = torch.cat([one_by_one_MD, parallel_MD])
        rule_D = torch.linalg.lstsq(hidden_MD, sign * wanted_M1).solution[:, 0]
        model.language_model.lm_head.weight[ACTIONS] += rule_D
    return policy


@pytest.mark.parametrize("trained", SETTINGS)
@pytest.mark.parametrize("played", SETTINGS)
def test_only_the_other_decoding_is_doubted_and_the_right_one_named(
    tmp_path: Path, trained: Decoding, played: Decoding
) -> None:
    policy = tiny_openvla(tmp_path, **SETTINGS[played])
    obs = openvla_input(policy, TEXTS)
    trained_for(trained, policy, obs)
    tokens_NK = policy.sample(obs, greedy=True).choices_NK
    said = policy.inspect(obs, tokens_NK)
    assert policy.inspect(obs, tokens_NK) is None  # once
    if trained == played:
        assert said is None
    else:
        assert said is not None
        chunk = 8 if trained == "parallel" else 1
        assert f"--policy.openvla.decoding {trained} --env.action-chunk {chunk}" in said
        assert f"--openvla.decoding {trained} --action-chunk {chunk}" in said
        assert f"hardly trained for {played} decoding" in said


def test_what_a_run_has_decided_only_a_new_run_can_change(tmp_path: Path) -> None:
    """`eval` takes no options of a policy that a run saved, so none are named."""
    policy = tiny_openvla(tmp_path / "published")
    trained_for("parallel", policy, openvla_input(policy, TEXTS))
    (tmp_path / "saved").mkdir()
    policy.save(tmp_path / "saved")
    saved = load_policy(tmp_path / "saved")
    obs = openvla_input(policy, TEXTS)
    said = saved.inspect(obs, saved.sample(obs, greedy=True).choices_NK)
    assert said is not None and "of eval" not in said
    options = "--policy.openvla.decoding parallel --env.action-chunk 8"
    assert f"Start a new run from the published checkpoint with {options}, if it is OpenVLA-OFT's" in said


def test_the_share_is_that_of_a_plain_llama(tmp_path: Path) -> None:
    policy = tiny_openvla(tmp_path).eval()
    obs = openvla_input(policy, TEXTS[:1])
    tokens_NK = policy.sample(obs, greedy=True).choices_NK
    ids_K = policy.codec.token_ids(tokens_NK[0])
    with torch.no_grad():
        hidden_NKD = teacher_forced_hidden(policy.model, policy._prefix(obs), ids_K[None])
        share_K = policy.model.action_share(hidden_NKD)[0]
    for k in range(7):
        expected = autoregressive_logits(policy, obs, 0, ids_K[:k]).softmax(-1)[ACTIONS].sum()
        assert share_K[k].item() == pytest.approx(expected.item(), abs=1e-5)


def test_a_rollout_asks_and_the_policy_plays_on_as_before(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    env = EnvConfig(image_size=16, action_chunk=1, horizon=3)
    played, said = [], []
    for inspected in (False, True):
        policy = tiny_openvla(tmp_path, image_size=16)
        with torch.no_grad():
            policy.model.language_model.lm_head.weight[: VOCAB_END - NUM_BINS] *= 1000.0
        policy.inspected = inspected
        envs = make_toy_envs(env, 2)
        observation, _ = envs.reset(seed=[0, 1], options={"group_size": 1})
        generators = [torch.Generator().manual_seed(i) for i in range(2)]
        played.append(play(policy, envs, observation, Sampling(generators=generators)))
        said.append(capsys.readouterr().out)
    first, second = (torch.cat([member.trajectory.choices_TK for member in one.members]) for one in played)
    assert torch.equal(first, second)
    assert said[0].startswith("Warning: in its first decisions the model gives action tokens 0.0% of the probability")
    assert said[0].count("\n") == 1 and said[1] == ""


def test_adapters_of_the_head_count(tmp_path: Path) -> None:
    """The head may be a layer with LoRA beside it."""
    from tests.trainer.policy.test_lora import adapted, learn_something

    policy = learn_something(adapted(tmp_path)).eval()
    obs = openvla_input(policy, TEXTS)
    ids_NK = policy.codec.token_ids(policy.sample(obs, greedy=True).choices_NK)
    with torch.no_grad():
        prefix = policy._prefix(obs)
        before = policy.model.action_share(teacher_forced_hidden(policy.model, prefix, ids_NK))
        assert find_doubt(policy.model, prefix, ids_NK, "autoregressive") is None
        policy.merge()
        after = policy.model.action_share(teacher_forced_hidden(policy.model, policy._prefix(obs), ids_NK))
    torch.testing.assert_close(before, after, rtol=0, atol=1e-4)
