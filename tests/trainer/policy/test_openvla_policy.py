"""OpenVLA as a policy: decoding beside a plain Llama, sampling beside scoring, and rows that ignore each other."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

from tests.helpers.tiny_openvla import (
    NUM_BINS,
    ONE_SIGLIP,
    PADDING,
    TINY,
    VOCAB_END,
    openvla_input,
    tiny_openvla,
    write_checkpoint,
)
from tgrpo_envs.errors import CheckpointError, ConfigError
from tgrpo_trainer.policy.openvla.pictures import prepare_pictures
from tgrpo_trainer.policy.openvla.policy import OpenVlaPolicy
from tgrpo_trainer.policy.openvla.saved_settings import OpenVlaSettings
from tgrpo_trainer.types import PolicyInput

TEXTS = ["pick up the bowl", "Reach the middle", "pick up the red bowl", "reach"]


@pytest.fixture
def policy(tmp_path: Path) -> OpenVlaPolicy:
    return tiny_openvla(tmp_path)


def seeded(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@torch.no_grad()
def reference_logits(policy: OpenVlaPolicy, obs: PolicyInput, row: int, ids_so_far: Tensor) -> Tensor:
    """One row, alone, without padding or cache, through transformers' own causal mask: logits over the vocabulary."""
    model = policy.model
    prompt = obs.instruction_NL[row]
    prompt = prompt[prompt != 0]
    pixels = prepare_pictures(obs.agentview_NHWC[row : row + 1], policy.towers, size=28, center_crop=True)
    patches = model.projector(model.vision_backbone(pixels))
    words = model.language_model.get_input_embeddings()(torch.cat([prompt, ids_so_far]))[None]
    embeddings = torch.cat([words[:, :1], patches, words[:, 1:]], dim=1)
    logits_V: Tensor = model.language_model(inputs_embeds=embeddings).logits[0, -1]
    return logits_V


def test_each_token_is_drawn_from_a_plain_llamas_distribution_over_action_tokens(policy: OpenVlaPolicy) -> None:
    policy.eval()
    obs = openvla_input(policy, TEXTS)
    sample = policy.sample(obs, temperature=0.7, generator=seeded())
    for row in range(len(TEXTS)):
        ids = torch.empty(0, dtype=torch.int64)
        for k in range(7):
            logits = reference_logits(policy, obs, row, ids)
            assert len(logits) == VOCAB_END + PADDING
            # Bin b is the id VOCAB_END - 1 - b.
            by_bin = torch.stack([logits[VOCAB_END - 1 - b] for b in range(NUM_BINS)])
            logp = torch.log_softmax(by_bin / 0.7, dim=0)
            token = int(sample.choices_NK[row, k])
            assert sample.logp_NK[row, k].item() == pytest.approx(logp[token].item(), abs=1e-4)
            ids = torch.cat([ids, torch.tensor([VOCAB_END - 1 - token])])


@pytest.mark.parametrize("temperature", [0.5, 1.6])
@pytest.mark.parametrize("greedy", [True, False])
def test_log_prob_gives_the_numbers_sample_gave(policy: OpenVlaPolicy, temperature: float, greedy: bool) -> None:
    obs = openvla_input(policy, TEXTS)
    sample = policy.sample(obs, temperature=temperature, greedy=greedy, generator=seeded())
    scored = policy.log_prob(obs, sample.choices_NK, temperature)
    torch.testing.assert_close(scored.logp_NK, sample.logp_NK, rtol=0, atol=1e-4)
    assert sample.choices_NK.shape == (4, 7) and sample.actions_NCA.shape == (4, 1, 7)
    assert sample.logp_NK.dtype == scored.logp_NK.dtype == scored.entropy_NK.dtype == torch.float32
    assert scored.logp_NK.requires_grad and not sample.logp_NK.requires_grad
    assert torch.equal(policy.codec.decode(sample.choices_NK), sample.actions_NCA)
    if greedy:
        assert scored.greedy_NK.all()


def test_neither_neighbours_nor_padding_change_a_row(policy: OpenVlaPolicy) -> None:
    obs = openvla_input(policy, TEXTS)
    sample = policy.sample(obs, greedy=True)
    whole = policy.log_prob(obs, sample.choices_NK).logp_NK
    for row, text in enumerate(TEXTS):
        alone = dataclasses.replace(obs.rows(slice(row, row + 1)), instruction_NL=policy.encode_instructions([text]))
        assert alone.instruction_NL.shape[1] <= obs.instruction_NL.shape[1]
        assert torch.equal(policy.sample(alone, greedy=True).choices_NK[0], sample.choices_NK[row])
        scored = policy.log_prob(alone, sample.choices_NK[row : row + 1]).logp_NK[0]
        torch.testing.assert_close(scored, whole[row], rtol=0, atol=1e-5)
    padded = dataclasses.replace(obs, instruction_NL=torch.nn.functional.pad(obs.instruction_NL, (0, 5)))
    torch.testing.assert_close(policy.log_prob(padded, sample.choices_NK).logp_NK, whole, rtol=0, atol=1e-5)


def test_later_tokens_depend_on_earlier_ones_and_never_the_other_way_round(policy: OpenVlaPolicy) -> None:
    obs = openvla_input(policy, TEXTS[:1])
    tokens_NK = torch.zeros(1, 7, dtype=torch.int64)
    changed_NK = tokens_NK.clone()
    changed_NK[0, 3] = 200
    difference_K = (policy.log_prob(obs, changed_NK).entropy_NK - policy.log_prob(obs, tokens_NK).entropy_NK)[0].abs()
    assert (difference_K[:4] < 1e-6).all() and (difference_K[4:] > 1e-5).all()


class Waits(TorchDispatchMode):
    """Notes the operations that make the host wait for a device: values read, shapes that depend on values."""

    waiting = (torch.ops.aten._local_scalar_dense, torch.ops.aten.nonzero, torch.ops.aten.multinomial)

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen: list[OpOverload] = []

    def __torch_dispatch__(
        self,
        func: OpOverload,
        types: Collection[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func.overloadpacket in self.waiting:
            self.seen.append(func)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "settings",
    [{}, {"decoding": "parallel", "action_chunk": 8}, {"jpeg": True}],
    ids=["one by one", "parallel", "jpeg"],
)
def test_decoding_never_waits_for_the_device(tmp_path: Path, settings: dict[str, Any]) -> None:
    policy = tiny_openvla(tmp_path, **settings)
    obs, generator = openvla_input(policy, TEXTS), seeded()
    with Waits() as waits:
        torch.ones(1).item()
        policy.sample(obs, generator=generator)
    assert len(waits.seen) == 1  # the one asked for on purpose


@pytest.mark.gpu
@pytest.mark.parametrize(
    "settings",
    [{}, {"decoding": "parallel", "action_chunk": 8}, {"jpeg": True}],
    ids=["one by one", "parallel", "jpeg"],
)
def test_on_a_gpu_the_same_numbers_and_no_waiting(tmp_path: Path, settings: dict[str, Any]) -> None:
    policy = tiny_openvla(tmp_path, **settings)
    obs = openvla_input(policy, TEXTS)
    expected = policy.sample(obs, greedy=True)
    policy = policy.to("cuda")
    obs, generator = obs.to("cuda"), torch.Generator("cuda").manual_seed(0)
    policy.sample(obs, generator=generator)  # constants arrive on the device
    torch.cuda.set_sync_debug_mode("error")
    try:
        sample = policy.sample(obs, generator=generator)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.testing.assert_close(policy.log_prob(obs, sample.choices_NK).logp_NK, sample.logp_NK, rtol=0, atol=1e-3)
    scored = policy.log_prob(obs, expected.choices_NK.to("cuda")).logp_NK.cpu()
    torch.testing.assert_close(scored, expected.logp_NK, rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "matters"), [("agentview_NHWC", True), ("instruction_NL", True), ("wrist_NHWC", False)]
)
def test_it_looks_at_the_agentview_and_reads_the_instruction(policy: OpenVlaPolicy, name: str, matters: bool) -> None:
    obs, other = openvla_input(policy, TEXTS[:2]), openvla_input(policy, TEXTS[1::-1], seed=9)
    tokens_NK = torch.full((2, 7), 100)
    changed = dataclasses.replace(obs, **{name: getattr(other, name)})
    difference = policy.log_prob(changed, tokens_NK).logp_NK - policy.log_prob(obs, tokens_NK).logp_NK
    assert ((difference.abs().sum(1) > 1e-5) == matters).all()


def test_prompts_have_the_published_form(policy: OpenVlaPolicy) -> None:
    text = policy.prompter.tokenizer.decode(policy.encode_instructions(["Pick up the bowl"])[0].tolist())
    words = "".join(text.split()).replace("▁", " ").strip()
    assert words == "<s> In: What action should the robot take to pick up the bowl? Out:"
    assert policy.encode_instructions(["reach"])[0, -1] == 3  # the empty token, 29871 in Llama's vocabulary


def test_what_a_tokenizer_was_last_used_with_changes_no_prompt(tmp_path: Path, policy: OpenVlaPolicy) -> None:
    """`tokenizer(..., padding="max_length", truncation=True)` and `save_pretrained` leave both in tokenizer.json."""
    folder = write_checkpoint(tmp_path / "used")
    used = Tokenizer.from_file(str(folder / "tokenizer.json"))
    used.enable_truncation(12)
    used.enable_padding(length=40, pad_id=4, pad_token="▁In:")
    used.save(str(folder / "tokenizer.json"))
    assert len(used.encode("In: What action should").ids) == 40
    again = OpenVlaPolicy.load(folder, policy.settings)
    assert torch.equal(again.encode_instructions(TEXTS), policy.encode_instructions(TEXTS))


def test_drawing_is_repeatable_and_hotter_is_flatter(policy: OpenVlaPolicy) -> None:
    obs = openvla_input(policy, TEXTS * 4)
    draws = [policy.sample(obs, generator=seeded(seed)).choices_NK for seed in (3, 3, 4)]
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])
    cold, hot = (policy.log_prob(obs, draws[0], temperature).entropy_NK for temperature in (0.5, 2.0))
    assert (cold < hot).all()
    with pytest.raises(ConfigError, match="temperature"):
        policy.sample(obs, temperature=0.0)


def test_gradient_checkpointing_changes_memory_and_nothing_else(tmp_path: Path, policy: OpenVlaPolicy) -> None:
    again = tiny_openvla(tmp_path / "again", gradient_checkpointing=True)
    obs, tokens_NK = openvla_input(policy, TEXTS), torch.full((4, 7), 60)
    gradients = []
    for each in (policy.train(), again.train()):
        sample = each.sample(obs, greedy=True)  # in training mode too: the cache must not be bypassed
        assert each.log_prob(obs, sample.choices_NK).greedy_NK.all() and each.training
        each.log_prob(obs, tokens_NK).logp_NK.sum().backward()
        gradients.append({name: p.grad for name, p in each.named_parameters() if p.requires_grad})
    assert len(gradients[0]) > 60 and all(grad is not None for grad in gradients[0].values())
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-4, atol=1e-6)


def test_a_model_with_one_tower(tmp_path: Path) -> None:
    policy = tiny_openvla(tmp_path, ONE_SIGLIP)
    assert policy.towers == ("siglip",)
    obs = openvla_input(policy, TEXTS)
    sample = policy.sample(obs, generator=seeded())
    torch.testing.assert_close(policy.log_prob(obs, sample.choices_NK).logp_NK, sample.logp_NK, rtol=0, atol=1e-4)


def test_bfloat16_is_close_and_scores_in_float32(tmp_path: Path, policy: OpenVlaPolicy) -> None:
    settings = OpenVlaSettings("libero_object", image_size=32)
    rough = OpenVlaPolicy.load(write_checkpoint(tmp_path / "rough"), settings, dtype="bfloat16")
    obs, tokens_NK = openvla_input(policy, TEXTS), torch.full((4, 7), 60)
    scored = rough.log_prob(obs, tokens_NK)
    assert scored.logp_NK.dtype == torch.float32 and {p.dtype for p in rough.parameters()} == {torch.bfloat16}
    torch.testing.assert_close(scored.logp_NK, policy.log_prob(obs, tokens_NK).logp_NK, rtol=0, atol=0.3)


def test_logits_are_not_rounded_to_bfloat16(tmp_path: Path) -> None:
    settings = OpenVlaSettings("libero_object", image_size=32)
    model = OpenVlaPolicy.load(write_checkpoint(tmp_path), settings, dtype="bfloat16").model
    hidden_NKD = torch.randn(2, 3, TINY.width, generator=seeded()).bfloat16()
    head_VD = model.language_model.lm_head.weight.double()
    ids = VOCAB_END - 1 - torch.arange(NUM_BINS)
    expected_NKV = hidden_NKD.double() @ head_VD[ids].T
    # bfloat16 has 8 bits: rounding a logit of 2 would already miss by 0.004.
    torch.testing.assert_close(model.action_logits(hidden_NKD).double(), expected_NKV, rtol=0, atol=1e-5)


def test_another_models_tokenizer_is_refused(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path)
    settings = OpenVlaSettings("libero_object")
    path = folder / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    path.write_text(json.dumps({**tokenizer, "post_processor": None}))
    with pytest.raises(CheckpointError, match="start with 1"):
        OpenVlaPolicy.load(folder, settings)
    path.write_text("{}")
    with pytest.raises(CheckpointError, match="not a tokenizer"):
        OpenVlaPolicy.load(folder, settings)
    path.unlink()
    with pytest.raises(CheckpointError, match=r"tokenizer\.json is missing"):
        OpenVlaPolicy.load(folder, settings)


def test_chunks_need_parallel_decoding() -> None:
    with pytest.raises(ConfigError, match="parallel"):
        OpenVlaSettings("libero_object", action_chunk=8)
    assert TINY.layers == 2  # every layer of the tiny model uses the cache
