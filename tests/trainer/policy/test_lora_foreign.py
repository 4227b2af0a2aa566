"""LoRA adapters of another program: made and merged by peft itself, exported by us to the same weights, or refused."""

from __future__ import annotations

import json

import pytest
import torch
from peft import IA3Config, LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

from tests.helpers.tiny_openvla import STATISTICS, TINY, published_shapes, tiny_openvla
from tgrpo_trainer.__main__ import main
from tgrpo_trainer.policy.openvla.policy import OpenVlaPolicy
from tgrpo_trainer.policy.openvla.saved_settings import OpenVlaSettings

PEFT_WEIGHTS = "adapter_model.safetensors"
SETTINGS = OpenVlaSettings("libero_object", image_size=32)
# What "all-linear" becomes in the file: the last part of every linear layer's name, and with it the patch convolutions.
ALL_LINEAR = sorted({name.split(".")[-2] for name, shape in published_shapes(TINY).items() if len(shape) in (2, 4)})
ALL_LINEAR = [name for name in ALL_LINEAR if name not in ("embed_tokens", "attn_pool")]
VARIANTS = {
    "all-linear": {"target_modules": ALL_LINEAR, "lora_alpha": 16, "init_lora_weights": "gaussian"},
    "attention, rank-stabilised": {"target_modules": ["q_proj", "v_proj"], "use_rslora": True, "lora_alpha": 8},
    "a pattern, as a causal model": {"target_modules": r".*layers\.1\..*_proj", "task_type": "CAUSAL_LM"},
    "a whole layer beside": {"target_modules": ["qkv"], "modules_to_save": ["fc3"]},
}


def foreign(folder, base, **config):
    """Adapters as peft leaves them, of random numbers, and the weights that peft makes of them and their base."""
    policy = tiny_openvla(base)
    task_type = config.pop("task_type", None)
    wrapped = get_peft_model(policy.model, LoraConfig(r=4, lora_dropout=0.0, **config))
    wrapped.peft_config["default"].base_model_name_or_path = str(base)
    wrapped.peft_config["default"].task_type = task_type
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in wrapped.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    wrapped.save_pretrained(folder)
    return wrapped.merge_and_unload().state_dict()


def exported(adapters, out):
    assert main(["export", str(adapters), str(out)]) == 0
    return OpenVlaPolicy.load(out, SETTINGS)


@pytest.mark.parametrize("variant", VARIANTS)
def test_export_gives_what_peft_makes_of_them(tmp_path, variant):
    merged = foreign(tmp_path / "adapters", tmp_path / "base", **VARIANTS[variant])
    state = exported(tmp_path / "adapters", tmp_path / "out").model.state_dict()
    assert state.keys() == merged.keys() == published_shapes(TINY).keys()
    assert all(torch.equal(value, merged[name]) for name, value in state.items())
    base = tiny_openvla(tmp_path / "base").model.state_dict()
    assert any(not torch.equal(value, base[name]) for name, value in state.items())
    # A published checkpoint: no settings of a run, everything else the base's.
    for name in ("config.json", "tokenizer.json"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "base" / name).read_bytes()
    assert not (tmp_path / "out" / "tgrpo.json").exists() and not (tmp_path / "out" / "adapter_config.json").exists()


def test_a_head_that_peft_kept_whole_beside_its_adapter_is_the_base_of_the_merge(tmp_path):
    foreign(tmp_path / "adapters", tmp_path / "base", target_modules=["lm_head"], lora_alpha=8)
    path, head = tmp_path / "adapters" / "adapter_model.safetensors", "language_model.lm_head.weight"
    weights = load_file(path)
    kept = torch.full(published_shapes(TINY)[head], 2.0)
    save_file({**weights, "base_model.model.language_model.lm_head.base_layer.weight": kept}, path)
    lora = (weights[f"base_model.model.language_model.lm_head.lora_{one}.weight"] for one in "BA")
    change = torch.linalg.multi_dot([*lora]) * 8 / 4
    merged = exported(tmp_path / "adapters", tmp_path / "out").model.state_dict()[head]
    torch.testing.assert_close(merged, kept + change, rtol=0, atol=1e-6)


@pytest.mark.parametrize("where", ["own", "above"])
def test_the_adapters_own_statistics_go_before_the_bases(tmp_path, where):
    adapters = tmp_path / "run" / "lora_adapter"
    foreign(adapters, tmp_path / "base", **VARIANTS["all-linear"])
    statistics = {"mine": STATISTICS["libero_spatial"]}
    (adapters if where == "own" else adapters.parent).joinpath("dataset_statistics.json").write_text(
        json.dumps(statistics)
    )
    assert main(["export", str(adapters), str(tmp_path / "out")]) == 0
    assert json.loads((tmp_path / "out" / "dataset_statistics.json").read_text()) == statistics


def lose_the_base(adapters):
    (adapters.parent / "base").rename(adapters.parent / "moved")


def name_no_base(adapters):
    config = json.loads((adapters / "adapter_config.json").read_text())
    (adapters / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": None}))


def store_a_pickle(adapters):
    (adapters / "adapter_model.safetensors").rename(adapters / "adapter_model.bin")


def lose_a_tensor(adapters):
    weights = load_file(adapters / "adapter_model.safetensors")
    save_file(dict(list(weights.items())[1:]), adapters / "adapter_model.safetensors")


def hold_a_stray(adapters):
    weights = load_file(adapters / "adapter_model.safetensors")
    save_file({**weights, "base_model.model.cheese.lora_A.weight": torch.zeros(2)}, adapters / PEFT_WEIGHTS)


def take_another_model(adapters):
    weights = load_file(adapters / "adapter_model.safetensors")
    name = next(name for name in weights if "lora_A" in name)
    save_file({**weights, name: torch.zeros(4, 999)}, adapters / "adapter_model.safetensors")


def take_another_method(adapters):
    config = json.loads((adapters / "adapter_config.json").read_text())
    IA3Config(target_modules=["q_proj"], feedforward_modules=[]).save_pretrained(adapters)
    other = json.loads((adapters / "adapter_config.json").read_text())
    other["base_model_name_or_path"] = config["base_model_name_or_path"]
    (adapters / "adapter_config.json").write_text(json.dumps(other))


def belong_to_a_head(adapters):
    (adapters / "action_head--5_checkpoint.pt").write_text("")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lose_the_base, "as the base of its adapters, which cannot be had"),
        (name_no_base, "names no base_model_name_or_path"),
        (store_a_pickle, "safe_serialization=True"),
        (lose_a_tensor, "1 tensors differ"),
        (hold_a_stray, "1 tensors differ, such as base_model.model.cheese"),
        (take_another_model, "does not fit its base"),
        (take_another_method, "not LoRA"),
        (belong_to_a_head, "a continuous action head"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_what_cannot_be_merged_is_one_sentence_and_leaves_nothing(damage, said, tmp_path, capsys):
    foreign(tmp_path / "adapters", tmp_path / "base", target_modules=["q_proj"])
    damage(tmp_path / "adapters")
    before = set(tmp_path.iterdir())
    assert main(["export", str(tmp_path / "adapters"), str(tmp_path / "out")]) == 2
    errors = capsys.readouterr().err
    assert said in errors and errors.startswith("error: ") and "Traceback" not in errors
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize("command", ["train", "eval"])
def test_the_advice_elsewhere_is_the_command_that_works(command, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    foreign(tmp_path / "adapters", tmp_path / "base", target_modules=["q_proj"])
    given = {
        "train": ["--recipe", "openvla_libero", "--policy.checkpoint", "adapters", "--env.assets", "primitive"],
        "eval": ["adapters", "--assets", "primitive"],
    }
    assert main([command, *given[command]]) == 2
    advice = capsys.readouterr().err.partition("merge them first: python -m tgrpo_trainer ")[2]
    words = advice.partition(" OUT, then")[0].split()
    assert words[0] == "export" and main([*words, str(tmp_path / "out")]) == 0
    assert exists_whole(tmp_path / "out")


def exists_whole(folder):
    return OpenVlaPolicy.load(folder, SETTINGS).model.state_dict().keys() == published_shapes(TINY).keys()


def test_adapters_on_the_hub_are_merged_by_their_name(tmp_path, monkeypatch):
    from tgrpo_trainer.policy.hub import FoundCheckpoint

    foreign(tmp_path / "adapters", tmp_path / "base", target_modules=["q_proj"])
    found = FoundCheckpoint(tmp_path / "adapters", "somebody/adapters@0")
    monkeypatch.setattr("tgrpo_trainer.evaluation.source.resolve_checkpoint", lambda name: found)
    assert main(["export", "somebody/adapters", str(tmp_path / "out")]) == 0
    assert exists_whole(tmp_path / "out")
