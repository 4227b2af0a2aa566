"""OpenVLA's checkpoints: the published names and shapes, strict loading, and saving that changes nothing."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.helpers.tiny_openvla import (
    FULL,
    NUM_PARAMETERS_7B,
    ONE_SIGLIP,
    STATISTICS,
    TINY,
    TINY_DINO,
    Shapes,
    Sizes,
    published_shapes,
    tiny_config,
    tiny_openvla,
    tiny_weights,
    write_checkpoint,
)
from tgrpo_envs.errors import CheckpointError
from tgrpo_trainer.policy import load_policy
from tgrpo_trainer.policy.openvla.architecture import LlamaShape, read_architecture
from tgrpo_trainer.policy.openvla.decoding import parallel_logits, teacher_forced_logits
from tgrpo_trainer.policy.openvla.model import OpenVlaModel
from tgrpo_trainer.policy.openvla.policy import OpenVlaPolicy
from tgrpo_trainer.policy.openvla.saved_settings import OpenVlaSettings

SETTINGS = OpenVlaSettings("libero_object", image_size=32)
FIRST_SHARD = "model-00001-of-00002.safetensors"
INDEX = "model.safetensors.index.json"
NUM_TENSORS_7B = {"vision_backbone": 685, "projector": 6, "language_model": 291}

ONE_DINO = Sizes((TINY_DINO,), TINY.vocab, TINY.width, TINY.mlp, TINY.layers)


def shapes_of(model: OpenVlaModel) -> Shapes:
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def load(folder: Path, **options: Any) -> OpenVlaPolicy:
    return OpenVlaPolicy.load(folder, SETTINGS, **options)


def change_shard(folder: Path, change: Callable[[dict[str, Tensor]], None]) -> None:
    weights = load_file(folder / FIRST_SHARD)
    change(weights)
    save_file(weights, folder / FIRST_SHARD, metadata={"format": "pt"})


@pytest.mark.parametrize("sizes", [FULL, TINY, ONE_DINO, ONE_SIGLIP], ids=["7b", "tiny", "dinov2", "siglip"])
def test_names_and_shapes_are_the_published_ones(sizes: Sizes) -> None:
    published = published_shapes(sizes)
    architecture = read_architecture(tiny_config(sizes), published)
    with torch.device("meta"):
        model = OpenVlaModel(architecture)
    assert shapes_of(model) == published
    if sizes is FULL:
        assert sum(parameter.numel() for parameter in model.parameters()) == NUM_PARAMETERS_7B
        assert Counter(name.partition(".")[0] for name in model.state_dict()) == NUM_TENSORS_7B
        assert architecture.action_vocab_end == 32000 and model.image_size == 224
        assert architecture.llama == LlamaShape(32064, 4096, 11008, 32, 32, 32, 1e-6, 10000.0, 2048, 1, 2)


def test_towers_are_told_apart_by_the_config_also_in_its_older_form() -> None:
    shapes = published_shapes(TINY)
    old = {key: value for key, value in tiny_config(TINY).items() if not key.startswith(("timm", "use_fused"))}
    assert read_architecture(old, shapes) == read_architecture(tiny_config(TINY), shapes)
    with pytest.raises(CheckpointError, match="clip-vit-l"):
        read_architecture({"vision_backbone_id": "clip-vit-l"}, shapes)


def test_a_config_that_contradicts_the_tensors_is_refused() -> None:
    config = tiny_config(TINY)
    config["text_config"]["vocab_size"] += 64
    with pytest.raises(CheckpointError, match="vocab_size"):
        read_architecture(config, published_shapes(TINY))
    with pytest.raises(CheckpointError, match="image_sizes"):
        read_architecture({**tiny_config(TINY), "image_sizes": [384, 384]}, published_shapes(TINY))
    with pytest.raises(CheckpointError, match="names 1 vision towers"):
        read_architecture({**tiny_config(TINY), "timm_model_ids": ["dinov2"]}, published_shapes(TINY))
    for bins in (TINY.vocab, 1, "many"):
        with pytest.raises(CheckpointError, match=r"n_action_bins|not supported"):
            read_architecture({**tiny_config(TINY), "n_action_bins": bins}, published_shapes(TINY))


ROPE_5 = {"rope_type": "default", "rope_theta": 500}
"""As transformers 5 writes it."""


@pytest.mark.parametrize(
    ("text_config", "theta"),
    [
        ({}, 10000.0),
        ({"rope_theta": 500.0}, 500.0),
        ({"rope_parameters": ROPE_5, "rope_scaling": None}, 500.0),
        ({"rope_parameters": ROPE_5, "rope_theta": 500.0}, 500.0),
    ],
)
def test_the_rotary_base_is_read_in_either_form(text_config: dict[str, Any], theta: float) -> None:
    config = tiny_config(TINY)
    config["text_config"] |= text_config
    assert read_architecture(config, published_shapes(TINY)).llama.rope_theta == theta


@pytest.mark.parametrize(
    ("text_config", "said"),
    [
        ({"num_attention_heads": 3}, "num_attention_heads is 3, but a head has an even share of .* 32 channels"),
        ({"num_attention_heads": 32}, "num_attention_heads is 32, but a head has an even share"),
        ({"num_attention_heads": 0}, "num_attention_heads is 0; it must be a whole number of at least 1"),
        ({"num_attention_heads": -1}, "num_attention_heads is -1; it must be"),
        ({"num_attention_heads": 1.5}, r"num_attention_heads is 1\.5; it must be"),
        ({"num_attention_heads": True}, "num_attention_heads is True; it must be"),
        ({"num_key_value_heads": 2}, "num_key_value_heads 2, but the tensors have 4 keys of 8 channels"),
        ({"rms_norm_eps": 0}, "rms_norm_eps is 0; it must be a number above 0"),
        ({"rms_norm_eps": "1e-6"}, "rms_norm_eps is '1e-6'; it must be"),
        ({"rope_theta": None}, "rope_theta is None; it must be"),
        ({"rope_theta": float("inf")}, "rope_theta is inf; it must be"),
        ({"max_position_embeddings": None}, "max_position_embeddings is None; it must be"),
        ({"eos_token_id": [2]}, r"eos_token_id is \[2\]; it must be"),
        ({"hidden_act": "gelu"}, "hidden_act 'gelu'; OpenVLA's Llama has silu"),
        (
            {"rope_scaling": {"type": "linear", "factor": 4.0}},
            "rope_scaling says type 'linear'; only rope_type default",
        ),
        ({"rope_parameters": {**ROPE_5, "rope_type": "yarn"}}, "rope_parameters says rope_type 'yarn'"),
        ({"rope_parameters": {**ROPE_5, "factor": 4.0}}, r"rope_parameters says factor 4\.0"),
        ({"rope_parameters": ROPE_5, "rope_theta": 1e4}, r"rope_theta 10000\.0 and 500; leave one"),
        ({"rope_scaling": "linear"}, "rope_scaling is 'linear', not an object"),
        ("llama", "text_config is 'llama', not an object"),
    ],
)
def test_what_shapes_the_language_model_is_refused_by_name_where_it_cannot_be(text_config: Any, said: str) -> None:
    config = tiny_config(TINY)
    config["text_config"] = text_config if isinstance(text_config, str) else {**config["text_config"], **text_config}
    with pytest.raises(CheckpointError, match=said):
        read_architecture(config, published_shapes(TINY))


@pytest.mark.parametrize("padding", [0, -1, 1.5, True, "64"])
def test_the_vocabularys_padding_is_a_whole_number(padding: object) -> None:
    with pytest.raises(CheckpointError, match=r"pad_to_multiple_of is .*; it must be a whole number of at least 1"):
        read_architecture({**tiny_config(TINY), "pad_to_multiple_of": padding}, published_shapes(TINY))


@pytest.mark.slow
@pytest.mark.parametrize("num_tokens", [7, 56])
def test_the_full_size_fits_together(num_tokens: int) -> None:
    """A pass on the meta device: shapes only. 1 + 256 + 29 places of the prefix, then the action tokens."""
    architecture = read_architecture(tiny_config(FULL), published_shapes(FULL))
    with torch.device("meta"):
        model = OpenVlaModel(architecture)
        prefix = model.prefix(torch.empty(2, 6, 224, 224), torch.ones(2, 30, dtype=torch.int64))
        assert prefix.embeddings_NSD.shape == (2, 1 + 256 + 29, 4096)
        if num_tokens == 7:
            logits_NKV = teacher_forced_logits(model, prefix, torch.ones(2, 7, dtype=torch.int64))
        else:
            logits_NKV = parallel_logits(model, prefix, num_tokens)
    assert logits_NKV.shape == (2, num_tokens, 256)


def test_weights_arrive_bit_for_bit(tmp_path: Path) -> None:
    policy = tiny_openvla(tmp_path)
    weights = tiny_weights()
    state = policy.model.state_dict()
    assert state.keys() == weights.keys()
    assert all(torch.equal(state[name], weights[name]) for name in weights)


def test_what_is_stored_and_never_used_needs_no_gradient(tmp_path: Path) -> None:
    frozen = {name for name, p in tiny_openvla(tmp_path).model.named_parameters() if not p.requires_grad}
    expected: tuple[str, ...] = (
        "featurizer.blocks.2.",
        "featurizer.norm.",
        "fused_featurizer.blocks.1.",
        "fused_featurizer.norm.",
    )
    expected += ("fused_featurizer.attn_pool.",)
    stored = published_shapes(TINY)
    assert frozen == {name for name in stored if name.startswith(tuple(f"vision_backbone.{one}" for one in expected))}


def test_every_missing_and_unexpected_tensor_is_named(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path, num_shards=1)
    shard, lost = (
        folder / "model-00001-of-00001.safetensors",
        ["projector.fc3.bias", "language_model.model.norm.weight"],
    )
    weights = load_file(shard)
    for name in lost:
        del weights[name]
    (folder / INDEX).unlink()
    save_file({**weights, "critic.weight": torch.zeros(3)}, folder / "model.safetensors")
    with pytest.raises(CheckpointError) as caught:
        load(folder)
    message = str(caught.value)
    assert all(name in message for name in lost) and "unexpected: critic.weight" in message


def test_a_value_head_is_left_out_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = write_checkpoint(tmp_path, num_shards=1)
    (folder / INDEX).unlink()
    weights = load_file(folder / "model-00001-of-00001.safetensors")
    critic = {f"value_head.mlp.{i}.weight": torch.zeros(3, dtype=torch.bfloat16) for i in (0, 2)}
    save_file(weights | critic, folder / "model.safetensors")
    policy = load(folder)  # of another type than the weights, which is no reason to refuse them
    assert all(torch.equal(tensor, weights[name]) for name, tensor in policy.model.state_dict().items())
    (record,) = caplog.records
    assert record.levelname == "WARNING" and all(name in record.getMessage() for name in critic)


def test_index_and_shards_must_agree(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path)
    change_shard(folder, lambda weights: weights.update(stray=torch.zeros(2)))
    with pytest.raises(CheckpointError, match="unexpected: stray"):
        load(folder)


def test_a_tensor_lies_in_the_shard_of_its_index_and_nowhere_else(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path)
    second = "model-00002-of-00002.safetensors"
    name = next(iter(load_file(folder / FIRST_SHARD)))
    save_file({**load_file(folder / second), name: torch.zeros(2)}, folder / second)
    with pytest.raises(CheckpointError, match=rf"disagree; elsewhere: {name} in {second}"):
        load(folder)


def test_one_whole_file_and_shards_are_not_chosen_between(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path)
    weights = {name: tensor + 1 for name, tensor in tiny_weights().items()}
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"holds model\.safetensors and model\.safetensors\.index\.json of other"):
        load(folder)
    # An index of that very file agrees with it.
    index = {"metadata": {}, "weight_map": dict.fromkeys(weights, "model.safetensors")}
    (folder / INDEX).write_text(json.dumps(index))
    state = load(folder).model.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in weights.items())


@pytest.mark.parametrize("kind", ["vicuna-v15-7b", "llama2-7b-chat", 7])
def test_a_language_model_that_is_asked_in_other_words_is_refused(tmp_path: Path, kind: object) -> None:
    folder = write_checkpoint(tmp_path, llm_backbone_id=kind)
    with pytest.raises(CheckpointError, match=rf"says llm_backbone_id: {kind}, whose prompts have another wording"):
        load(folder)


def test_a_missing_or_damaged_shard_is_named(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path)
    shard = folder / FIRST_SHARD
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match=f"{FIRST_SHARD} is damaged"):
        load(folder)
    shard.unlink()
    with pytest.raises(CheckpointError, match=f"{FIRST_SHARD} is missing"):
        load(folder)
    (folder / INDEX).unlink()
    with pytest.raises(CheckpointError, match="neither"):
        load(folder)


def test_a_tensor_of_another_shape_is_named(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path)
    name = next(name for name in load_file(folder / FIRST_SHARD) if name.endswith("mlp.fc2.bias"))
    change_shard(folder, lambda weights: weights.update({name: torch.zeros(5)}))
    with pytest.raises(CheckpointError, match=name):
        load(folder)


def test_quantised_weights_are_refused_and_mixed_floats_need_a_choice(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path)
    name = "language_model.model.norm.weight"
    change = {name: torch.ones(TINY.width, dtype=torch.bfloat16)}
    in_first = name in load_file(folder / FIRST_SHARD)
    other = folder / (FIRST_SHARD if in_first else "model-00002-of-00002.safetensors")
    save_file({**load_file(other), **change}, other)
    with pytest.raises(CheckpointError, match=r"policy\.openvla\.dtype"):
        load(folder)
    assert {p.dtype for p in load(folder, dtype="bfloat16").parameters()} == {torch.bfloat16}
    save_file({**load_file(other), name: torch.ones(TINY.width, dtype=torch.int8)}, other)
    with pytest.raises(CheckpointError, match="I8"):
        load(folder, dtype="bfloat16")


def test_saving_writes_the_published_format_and_changes_nothing(tmp_path: Path) -> None:
    source = write_checkpoint(tmp_path / "source")
    (source / "dataset_statistics.json").write_text(json.dumps(STATISTICS))
    (source / "preprocessor_config.json").write_text("{}")
    policy = load(source)
    for name, limit in (("one", 7_000_000_000), ("many", 200_000)):
        saved = tmp_path / name
        saved.mkdir()
        policy.save(saved, max_shard_bytes=limit)
        weights = tiny_weights()
        index = json.loads((saved / INDEX).read_text())
        assert index["weight_map"].keys() == weights.keys()
        assert index["metadata"]["total_size"] == sum(tensor.nbytes for tensor in weights.values())
        for file_name in set(index["weight_map"].values()):
            for key, tensor in load_file(saved / file_name).items():
                assert index["weight_map"][key] == file_name and torch.equal(tensor, weights.pop(key))
        assert weights == {}
        for copied in ("config.json", "tokenizer.json", "dataset_statistics.json", "preprocessor_config.json"):
            assert (saved / copied).read_bytes() == (source / copied).read_bytes()
    assert sum(path.suffix == ".safetensors" for path in (tmp_path / "many").iterdir()) > 3
    assert sorted(path.name for path in (tmp_path / "one").glob("*.safetensors")) == [
        "model-00001-of-00001.safetensors"
    ]

    again = load_policy(tmp_path / "many")
    assert isinstance(again, OpenVlaPolicy) and again.settings == SETTINGS
    assert all(torch.equal(tensor, policy.state_dict()[name]) for name, tensor in again.state_dict().items())


def test_a_published_folder_needs_settings(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path)
    with pytest.raises(CheckpointError, match=r"--policy\.kind openvla"):
        load_policy(folder)
    (folder / "tgrpo.json").write_text('{"kind": "openvla", "unnorm_key": "libero_object", "colour": "blue"}')
    with pytest.raises(CheckpointError, match="colour"):
        load_policy(folder)


def test_the_saved_type_is_written_down(tmp_path: Path) -> None:
    policy = load(write_checkpoint(tmp_path / "source"), dtype="bfloat16")
    (tmp_path / "saved").mkdir()
    policy.save(tmp_path / "saved")
    assert json.loads((tmp_path / "saved" / "config.json").read_text())["torch_dtype"] == "bfloat16"
    assert {p.dtype for p in load_policy(tmp_path / "saved").parameters()} == {torch.bfloat16}
