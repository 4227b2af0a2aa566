"""OpenVLA-OFT's parallel decoding: a whole chunk in one pass in which every place sees every other."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.helpers.tiny_openvla import NUM_BINS, VOCAB_END, openvla_input, tiny_openvla
from tgrpo_trainer.policy import load_policy
from tgrpo_trainer.policy.openvla.pictures import prepare_pictures
from tgrpo_trainer.policy.openvla.policy import OpenVlaPolicy
from tgrpo_trainer.types import PolicyInput

TEXTS = ["pick up the bowl", "reach the middle", "reach"]
CHUNK = 8


@pytest.fixture
def policy(tmp_path: Path) -> OpenVlaPolicy:
    return tiny_openvla(tmp_path, decoding="parallel", action_chunk=CHUNK)


@torch.no_grad()
def reference_logits(policy: OpenVlaPolicy, obs: PolicyInput, row: int) -> Tensor:
    """One row alone as the published code lays it out, through transformers' own switch for two-way attention."""
    model = policy.model
    llama = model.language_model
    prompt = obs.instruction_NL[row]
    prompt = prompt[prompt != 0]
    pixels = prepare_pictures(obs.agentview_NHWC[row : row + 1], policy.towers, size=28, center_crop=True)
    patches = model.projector(model.vision_backbone(pixels))
    words = llama.get_input_embeddings()(prompt)[None]
    empty = torch.zeros(1, 7 * CHUNK, words.shape[2])
    end = llama.get_input_embeddings()(torch.tensor([[2]]))
    embeddings = torch.cat([words[:, :1], patches, words[:, 1:], empty, end], dim=1)
    llama.config.is_causal = False
    llama.config._attn_implementation = "eager"
    logits = llama(inputs_embeds=embeddings).logits[0]
    llama.config.is_causal = True
    llama.config._attn_implementation = "sdpa"
    first = patches.shape[1] + len(prompt) - 1  # the last token of the prompt predicts the first action token
    ids = VOCAB_END - 1 - torch.arange(NUM_BINS)
    logits_KV: Tensor = logits[first : first + 7 * CHUNK][:, ids]
    return logits_KV


def test_a_chunk_is_drawn_from_the_published_layout(policy: OpenVlaPolicy) -> None:
    policy.eval()
    obs = openvla_input(policy, TEXTS)
    sample = policy.sample(obs, temperature=1.6, generator=torch.Generator().manual_seed(0))
    assert sample.choices_NK.shape == (3, 56) and sample.actions_NCA.shape == (3, CHUNK, 7)
    for row in range(3):
        logp_KV = torch.log_softmax(reference_logits(policy, obs, row) / 1.6, dim=-1)
        expected_K = logp_KV.gather(1, sample.choices_NK[row][:, None])[:, 0]
        torch.testing.assert_close(sample.logp_NK[row], expected_K, rtol=0, atol=1e-4)


def test_scoring_agrees_and_ignores_neighbours_and_padding(policy: OpenVlaPolicy) -> None:
    obs = openvla_input(policy, TEXTS)
    sample = policy.sample(obs, generator=torch.Generator().manual_seed(0))
    whole = policy.log_prob(obs, sample.choices_NK)
    torch.testing.assert_close(whole.logp_NK, sample.logp_NK, rtol=0, atol=1e-5)
    for row, text in enumerate(TEXTS):
        alone = dataclasses.replace(obs.rows(slice(row, row + 1)), instruction_NL=policy.encode_instructions([text]))
        scored = policy.log_prob(alone, sample.choices_NK[row : row + 1])
        torch.testing.assert_close(scored.logp_NK[0], whole.logp_NK[row], rtol=0, atol=1e-5)


def test_tokens_of_a_chunk_are_independent_given_what_is_seen(policy: OpenVlaPolicy) -> None:
    obs = openvla_input(policy, TEXTS[:1])
    tokens_NK = torch.zeros(1, 56, dtype=torch.int64)
    changed_NK = tokens_NK.clone()
    changed_NK[0, 5] = 200
    first, second = policy.log_prob(obs, tokens_NK), policy.log_prob(obs, changed_NK)
    assert torch.equal(first.entropy_NK, second.entropy_NK)
    assert (first.logp_NK != second.logp_NK).nonzero().tolist() == [[0, 5]]


def test_settings_survive_saving(policy: OpenVlaPolicy, tmp_path: Path) -> None:
    saved = tmp_path / "saved"
    saved.mkdir()
    policy.save(saved)
    loaded = load_policy(saved)
    assert isinstance(loaded, OpenVlaPolicy)
    obs = openvla_input(policy, TEXTS)
    assert (loaded.action_chunk, loaded.tokens_per_decision) == (CHUNK, 56)
    assert torch.equal(loaded.sample(obs, greedy=True).actions_NCA, policy.sample(obs, greedy=True).actions_NCA)
