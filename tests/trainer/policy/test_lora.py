"""LoRA on OpenVLA: which layers, the base unchanged at first, gradients, peft's own reading, merging, another base."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

from tests.helpers.tiny_openvla import (
    FULL,
    NUM_PARAMETERS_7B,
    TINY,
    openvla_input,
    published_shapes,
    tiny_config,
    tiny_openvla,
    write_checkpoint,
)
from tgrpo_envs.errors import CheckpointError, ConfigError
from tgrpo_trainer.optim.optimizer import trained_parameters
from tgrpo_trainer.policy import load_policy
from tgrpo_trainer.policy.base import Policy
from tgrpo_trainer.policy.lora import LoraSettings, Targets, adapted_layers, add_adapters
from tgrpo_trainer.policy.openvla.architecture import read_architecture
from tgrpo_trainer.policy.openvla.base import BaseCheckpoint
from tgrpo_trainer.policy.openvla.footprint import lora_targets
from tgrpo_trainer.policy.openvla.model import OpenVlaModel
from tgrpo_trainer.policy.openvla.policy import OpenVlaPolicy
from tgrpo_trainer.policy.openvla.saved_settings import OpenVlaSettings
from tgrpo_trainer.policy.openvla.weights import DType
from tgrpo_trainer.types import PolicyInput

TEXTS = ["pick up the bowl", "Reach the middle", "reach"]
RANK = 4
PEFT_COUNT_7B = 110_828_288
"""Adapters of rank 32 that peft puts into openvla-7b with `all-linear` (what it printed there)."""
NEVER_RUN_7B = 524_288 + 570_368 + 607_232
"""Of these, beside DINOv2's last block, SigLIP's last block and its pooling head: 32 * (inputs + outputs) of each."""


def adapted(
    folder: Path,
    *,
    rank: int = RANK,
    targets: Targets = "all-linear",
    dtype: DType | None = None,
    seed: int = 3,
    **settings: Any,
) -> OpenVlaPolicy:
    base = write_checkpoint(folder / "base")
    policy = OpenVlaPolicy.load(base, OpenVlaSettings("libero_object", image_size=32, **settings), dtype=dtype)
    policy.adapt(LoraSettings(rank, targets=targets), BaseCheckpoint.of(str(base), dtype), seed)
    return policy


def learn_something(policy: OpenVlaPolicy, seed: int = 5) -> OpenVlaPolicy:
    """Set B as training would."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in trained_parameters(policy).items():
            if "lora_B" in name:
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    return policy


def save(policy: Policy, folder: Path) -> Path:
    folder.mkdir()
    policy.save(folder)
    return folder


def scores(policy: Policy, obs: PolicyInput, tokens_NK: Tensor) -> Tensor:
    return policy.log_prob(obs, tokens_NK, 0.8).logp_NK


def test_at_full_size_they_are_those_of_openvlas_own_fine_tuning_without_what_never_runs() -> None:
    with torch.device("meta"):
        model = OpenVlaModel(read_architecture(tiny_config(FULL), published_shapes(FULL)))
    add_adapters(model, LoraSettings(32), lora_targets(model, "all-linear"), seed=0)
    trained = trained_parameters(model)
    assert sum(parameter.numel() for parameter in trained.values()) == PEFT_COUNT_7B - NEVER_RUN_7B
    assert (
        sum(parameter.numel() for parameter in model.parameters()) == NUM_PARAMETERS_7B + PEFT_COUNT_7B - NEVER_RUN_7B
    )
    assert all(".lora_A." in name or ".lora_B." in name for name in trained)
    assert not any("attn_pool" in name or "featurizer.blocks.26." in name for name in trained)


@pytest.mark.parametrize("targets", ["all-linear", "language-model"])
def test_every_target_has_an_adapter_and_only_adapters_are_trained(tmp_path: Path, targets: Targets) -> None:
    policy = adapted(tmp_path, targets=targets)
    shapes = {name.removesuffix(".weight"): shape for name, shape in published_shapes(TINY).items()}
    never_run = ("featurizer.blocks.2.", "fused_featurizer.blocks.1.", "attn_pool", "embed_tokens")
    expected = {
        name
        for name, shape in shapes.items()
        if len(shape) in (2, 4) and not any(one in name for one in never_run) and name != "vision_backbone"
    }
    if targets == "language-model":
        expected = {name for name in expected if name.startswith("language_model")}
    assert adapted_layers(policy.model).keys() == expected
    trained = trained_parameters(policy)
    assert len(trained) == 2 * len(expected) and all(".lora_" in name for name in trained)
    again, other = adapted(tmp_path, targets=targets), adapted(tmp_path, targets=targets, seed=4)
    first = next(name for name in trained if "lora_A" in name)
    assert torch.equal(trained[first], trained_parameters(again)[first])
    assert not torch.equal(trained[first], trained_parameters(other)[first])


@pytest.mark.parametrize("dtype", [None, "bfloat16"])
@pytest.mark.parametrize("settings", [{}, {"decoding": "parallel", "action_chunk": 2}], ids=["one by one", "parallel"])
def test_at_first_it_is_the_base_bit_for_bit(tmp_path: Path, dtype: DType | None, settings: dict[str, Any]) -> None:
    policy = adapted(tmp_path, dtype=dtype, **settings)
    base = OpenVlaPolicy.load(tmp_path / "base", policy.settings, dtype=dtype)
    obs = openvla_input(base, TEXTS)
    samples = [one.sample(obs, generator=torch.Generator().manual_seed(1)) for one in (policy, base)]
    assert torch.equal(samples[0].choices_NK, samples[1].choices_NK)
    assert torch.equal(samples[0].logp_NK, samples[1].logp_NK)
    assert torch.equal(scores(policy, obs, samples[0].choices_NK), scores(base, obs, samples[0].choices_NK))
    kinds = {parameter.dtype for parameter in policy.parameters()}
    assert kinds == {torch.bfloat16 if dtype else torch.float32}


@pytest.mark.parametrize("settings", [{}, {"decoding": "parallel", "action_chunk": 2}], ids=["one by one", "parallel"])
def test_log_prob_gives_the_numbers_sample_gave(tmp_path: Path, settings: dict[str, Any]) -> None:
    policy = learn_something(adapted(tmp_path, **settings)).train()
    obs = openvla_input(policy, TEXTS)
    sample = policy.sample(obs, temperature=0.8, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(scores(policy, obs, sample.choices_NK), sample.logp_NK, rtol=0, atol=1e-4)


def test_switched_off_it_is_the_base_and_gradients_stay_asked_for(tmp_path: Path) -> None:
    policy = learn_something(adapted(tmp_path))
    base = tiny_openvla(tmp_path / "base")
    obs = openvla_input(base, TEXTS)
    tokens_NK = torch.arange(21).view(3, 7)
    learnt = scores(policy, obs, tokens_NK)
    trained = list(trained_parameters(policy))
    reference = policy.reference()
    assert reference is not None
    with reference:
        assert torch.equal(scores(policy, obs, tokens_NK), scores(base, obs, tokens_NK))
        assert list(trained_parameters(policy)) == trained
    assert torch.equal(scores(policy, obs, tokens_NK), learnt)
    assert (learnt - scores(base, obs, tokens_NK)).abs().max() > 0.01
    assert list(trained_parameters(policy)) == trained


def test_gradients_are_those_without_activation_checkpointing(tmp_path: Path) -> None:
    gradients = []
    for checkpointing in (False, True):
        policy = learn_something(adapted(tmp_path, gradient_checkpointing=checkpointing)).train()
        obs = openvla_input(policy, TEXTS)
        scores(policy, obs, torch.arange(21).view(3, 7)).sum().backward()
        gradients.append({name: parameter.grad for name, parameter in policy.named_parameters()})
    for name, gradient in gradients[0].items():
        assert (gradient is not None) == (".lora_" in name), name
        if gradient is not None:
            assert gradient.abs().max() > 0, name
            torch.testing.assert_close(gradients[1][name], gradient)


class Widths(TorchDispatchMode):
    """Notes every result that has as many columns as the vocabulary has ids, and is not a weight's."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen: list[tuple[OpOverload, torch.Size]] = []

    def __torch_dispatch__(
        self,
        func: OpOverload,
        types: Collection[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for one in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(one, torch.Tensor) and one.dim() > 0 and one.shape[-1] == TINY.vocab:
                self.seen.append((func, one.shape))
        return result


@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("settings", [{}, {"decoding": "parallel", "action_chunk": 2}], ids=["one by one", "parallel"])
def test_logits_over_the_vocabulary_never_exist(tmp_path: Path, lora: bool, settings: dict[str, Any]) -> None:
    policy = adapted(tmp_path, **settings) if lora else tiny_openvla(tmp_path, **settings)
    obs = openvla_input(policy, TEXTS)
    with Widths() as widths:
        sample = policy.sample(obs)
        policy.train().log_prob(obs, sample.choices_NK).logp_NK.sum().backward()
    assert widths.seen == []
    with Widths() as widths:  # the test would notice them
        policy.model.language_model(inputs_embeds=torch.zeros(1, 2, TINY.width))
    assert widths.seen


def test_saved_and_loaded_it_is_the_same_policy(tmp_path: Path) -> None:
    policy = learn_something(adapted(tmp_path))
    folder = save(policy, tmp_path / "saved")
    assert {path.name for path in folder.iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
        "tgrpo.json",
    }
    again = load_policy(folder)
    assert isinstance(again, OpenVlaPolicy)
    assert (again.settings, again.adapters, again.base) == (policy.settings, policy.adapters, policy.base)
    state, loaded = policy.state_dict(), again.state_dict()
    assert state.keys() == loaded.keys() and all(torch.equal(loaded[name], value) for name, value in state.items())
    assert list(trained_parameters(again)) == list(trained_parameters(policy))
    assert (save(again, tmp_path / "twice") / "adapter_model.safetensors").read_bytes() == (
        folder / "adapter_model.safetensors"
    ).read_bytes()


def test_peft_reads_the_files(tmp_path: Path) -> None:
    policy = learn_something(adapted(tmp_path))
    folder = save(policy, tmp_path / "saved")
    base = tiny_openvla(tmp_path / "base")
    obs, tokens_NK = openvla_input(base, TEXTS), torch.arange(21).view(3, 7)
    wrapped = PeftModel.from_pretrained(base.model, str(folder))
    assert json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"] == str(tmp_path / "base")
    assert not any("lora" in name for name in wrapped.state_dict() if "attn_pool" in name)
    torch.testing.assert_close(scores(base, obs, tokens_NK), scores(policy, obs, tokens_NK), rtol=0, atol=1e-6)
    # And peft's own merging gives our merged weights.
    merged = wrapped.merge_and_unload().state_dict()
    policy.merge()
    assert merged.keys() == published_shapes(TINY).keys()
    for name, value in policy.model.state_dict().items():
        torch.testing.assert_close(merged[name], value, rtol=1e-6, atol=1e-6)


def test_merged_it_is_the_same_policy_in_the_published_format(tmp_path: Path) -> None:
    policy = learn_something(adapted(tmp_path))
    obs, tokens_NK = openvla_input(policy, TEXTS), torch.arange(21).view(3, 7)
    before = scores(policy, obs, tokens_NK)
    policy.merge()
    torch.testing.assert_close(scores(policy, obs, tokens_NK), before, rtol=0, atol=1e-5)
    folder = save(policy, tmp_path / "merged")
    stored = load_file(folder / "model-00001-of-00001.safetensors")
    assert {name: tuple(value.shape) for name, value in stored.items()} == published_shapes(TINY)
    assert (folder / "config.json").read_bytes() == (tmp_path / "base" / "config.json").read_bytes()
    assert torch.equal(scores(load_policy(folder), obs, tokens_NK), scores(policy, obs, tokens_NK))


def test_adapters_of_another_base_are_refused(tmp_path: Path) -> None:
    folder = save(adapted(tmp_path), tmp_path / "saved")
    write_checkpoint(tmp_path / "base", seed=1)
    with pytest.raises(CheckpointError, match="adapters of another checkpoint"):
        load_policy(folder)
    shutil.rmtree(tmp_path / "base")
    with pytest.raises(CheckpointError, match=r"their base cannot be had: .*base is neither a folder"):
        load_policy(folder)


def test_a_base_in_the_same_place_with_one_trained_tensor_is_another(tmp_path: Path) -> None:
    folder = save(adapted(tmp_path), tmp_path / "saved")
    shard = tmp_path / "base" / "model-00001-of-00002.safetensors"
    weights = load_file(shard)
    name = next(iter(weights))
    weights[name] = weights[name] * 1.01
    save_file(weights, shard, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="adapters of another checkpoint"):
        load_policy(folder)


def test_damaged_or_foreign_adapters_are_refused(tmp_path: Path) -> None:
    folder = save(adapted(tmp_path), tmp_path / "saved")
    weights = load_file(folder / "adapter_model.safetensors")
    lost = dict(list(weights.items())[1:])
    save_file(lost, folder / "adapter_model.safetensors")
    with pytest.raises(CheckpointError, match="another model, rank or type"):
        load_policy(folder)
    save_file({name: value.to(torch.bfloat16) for name, value in weights.items()}, folder / "adapter_model.safetensors")
    with pytest.raises(CheckpointError, match="another model, rank or type"):
        load_policy(folder)
    (folder / "adapter_model.safetensors").write_bytes(b"no")
    with pytest.raises(CheckpointError, match=r"adapter_model\.safetensors is missing or damaged"):
        load_policy(folder)
    (folder / "tgrpo.json").unlink()
    with pytest.raises(CheckpointError, match=r"export .*saved OUT"):
        load_policy(folder)
    (folder / "tgrpo.json").write_text("{}")
    with pytest.raises(CheckpointError, match="does not say which checkpoint"):
        load_policy(folder)


def test_a_rank_that_saves_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"rank is 33, more than .* is wide \(32\)"):
        adapted(tmp_path, rank=33)
    for wrong in ({"rank": 0}, {"rank": -1}, {"alpha": 0.0}):
        with pytest.raises(ConfigError, match="above 0"):
            LoraSettings(**wrong)
