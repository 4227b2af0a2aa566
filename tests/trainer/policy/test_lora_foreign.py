"""LoRA adapters of another program: made and merged by peft itself, exported by us to the same weights, or refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import IA3Config, LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.helpers.tiny_oft import write_oft
from tests.helpers.tiny_openvla import STATISTICS, TINY, published_shapes, tiny_openvla, tiny_weights, write_checkpoint
from tgrpo_trainer.__main__ import main
from tgrpo_trainer.policy.openvla.parts import read_parts
from tgrpo_trainer.policy.openvla.policy import OpenVlaPolicy
from tgrpo_trainer.policy.openvla.saved_settings import OpenVlaSettings

PEFT_WEIGHTS = "adapter_model.safetensors"
SETTINGS = OpenVlaSettings("libero_object", image_size=32)
# What "all-linear" becomes in the file: the last part of every linear layer's name, and with it the patch convolutions.
ALL_LINEAR = sorted({name.split(".")[-2] for name, shape in published_shapes(TINY).items() if len(shape) in (2, 4)})
ALL_LINEAR = [name for name in ALL_LINEAR if name not in ("embed_tokens", "attn_pool")]
VARIANTS: dict[str, dict[str, Any]] = {
    "all-linear": {"target_modules": ALL_LINEAR, "lora_alpha": 16, "init_lora_weights": "gaussian"},
    "attention, rank-stabilised": {"target_modules": ["q_proj", "v_proj"], "use_rslora": True, "lora_alpha": 8},
    "a pattern, as a causal model": {"target_modules": r".*layers\.1\..*_proj", "task_type": "CAUSAL_LM"},
    "a whole layer beside": {"target_modules": ["qkv"], "modules_to_save": ["fc3"]},
}


def foreign(folder: Path, base: Path, **config: Any) -> dict[str, Tensor]:
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
    wrapped.save_pretrained(str(folder))
    return wrapped.merge_and_unload().state_dict()


def exported(adapters: Path, out: Path) -> OpenVlaPolicy:
    assert main(["export", str(adapters), str(out)]) == 0
    return OpenVlaPolicy.load(out, SETTINGS)


@pytest.mark.parametrize("variant", VARIANTS)
def test_export_gives_what_peft_makes_of_them(tmp_path: Path, variant: str) -> None:
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


def test_a_head_that_peft_kept_whole_beside_its_adapter_is_the_base_of_the_merge(tmp_path: Path) -> None:
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
def test_the_adapters_own_statistics_go_before_the_bases(tmp_path: Path, where: str) -> None:
    adapters = tmp_path / "run" / "lora_adapter"
    foreign(adapters, tmp_path / "base", **VARIANTS["all-linear"])
    statistics = {"mine": STATISTICS["libero_spatial"]}
    (adapters if where == "own" else adapters.parent).joinpath("dataset_statistics.json").write_text(
        json.dumps(statistics)
    )
    assert main(["export", str(adapters), str(tmp_path / "out")]) == 0
    assert json.loads((tmp_path / "out" / "dataset_statistics.json").read_text()) == statistics


@pytest.mark.parametrize("film", [False, True], ids=["head and projector", "and FiLM"])
def test_what_oft_saved_whole_beside_its_adapters_goes_along(tmp_path: Path, film: bool) -> None:
    """OFT's folder: parts above, adapters within, whose vision layers are FiLM's under other names."""
    run = write_oft(tmp_path / "run", film=film)
    for path in [*run.glob("model*"), run / "config.json", run / "tokenizer.json"]:
        path.unlink()
    merged = foreign(run / "lora_adapter", tmp_path / "base", **VARIANTS["all-linear"])
    if film:
        path = run / "lora_adapter" / PEFT_WEIGHTS
        stored, vision = load_file(path), ".vision_backbone."
        save_file({name.replace(vision, 2 * vision[:-1] + "."): value for name, value in stored.items()}, path)
    assert main(["export", str(run / "lora_adapter"), str(tmp_path / "out")]) == 0
    settings = OpenVlaSettings("libero_object", 32, 8, decoding="parallel")
    state = OpenVlaPolicy.load(tmp_path / "out", settings).model.state_dict()
    parts = read_parts(run).tensors
    for name, value in state.items():
        if name != "log_scale_A":
            assert torch.equal(value, parts[name] if name in parts else merged[name]), name
    assert film == any(".scale." in name for name in state) and "action_head.model.fc1.weight" in state


def weights_file(path: Path, wrapper: str = "", **more: Any) -> str:
    """As RLinf's FSDP saves a model with a critic."""
    state = {f"{wrapper}{name}": value + 0.5 for name, value in tiny_weights().items()}
    torch.save({**state, "value_head.0.weight": torch.zeros(3), **more}, path)
    return str(path)


@pytest.mark.parametrize("wrapper", ["", "module.", "_fsdp_wrapped_module."])
def test_a_file_of_weights_becomes_a_checkpoint(tmp_path: Path, caplog: pytest.LogCaptureFixture, wrapper: str) -> None:
    base, given = write_checkpoint(tmp_path / "base"), weights_file(tmp_path / "full_weights.pt", wrapper)
    assert main(["export", given, str(tmp_path / "out"), "--base", str(base)]) == 0
    assert "value head is not used, and left out: value_head.0.weight" in caplog.text
    state = OpenVlaPolicy.load(tmp_path / "out", SETTINGS).model.state_dict()
    assert all(torch.equal(state[name], value + 0.5) for name, value in tiny_weights().items())
    for name in ("config.json", "tokenizer.json"):
        assert (tmp_path / "out" / name).read_bytes() == (base / name).read_bytes()


@pytest.mark.parametrize(
    ("more", "options", "said"),
    [
        ({"cheese": torch.zeros(2)}, ["--base", "base"], "unexpected: cheese"),
        ({"projector.fc1.bias": torch.zeros(2)}, ["--base", "base"], "projector.fc1.bias is (2,)"),
        ({"a.lora_A.default.weight": torch.zeros(2)}, ["--base", "base"], "LoRA adapters beside the weights"),
        ({"a": {"b": 1}}, ["--base", "base"], "does not hold tensors by name"),
        ({}, [], "is a file of weights, and --base is for these"),
        ({}, ["--base", "nowhere"], "neither a folder nor a name on the hub"),
    ],
)
def test_another_file_of_weights_is_one_sentence(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    more: dict[str, Any],
    options: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_checkpoint(tmp_path / "base")
    assert main(["export", weights_file(tmp_path / "w.pt", **more), "out", *options]) == 2
    errors = capsys.readouterr().err
    assert said in errors and errors.startswith("error: ") and "Traceback" not in errors
    assert not (tmp_path / "out").exists()


def lose_the_base(adapters: Path) -> None:
    (adapters.parent / "base").rename(adapters.parent / "moved")


def name_no_base(adapters: Path) -> None:
    config = json.loads((adapters / "adapter_config.json").read_text())
    (adapters / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": None}))


def store_a_pickle(adapters: Path) -> None:
    (adapters / "adapter_model.safetensors").rename(adapters / "adapter_model.bin")


def lose_a_tensor(adapters: Path) -> None:
    weights = load_file(adapters / "adapter_model.safetensors")
    save_file(dict(list(weights.items())[1:]), adapters / "adapter_model.safetensors")


def hold_a_stray(adapters: Path) -> None:
    weights = load_file(adapters / "adapter_model.safetensors")
    save_file({**weights, "base_model.model.cheese.lora_A.weight": torch.zeros(2)}, adapters / PEFT_WEIGHTS)


def take_another_model(adapters: Path) -> None:
    weights = load_file(adapters / "adapter_model.safetensors")
    name = next(name for name in weights if "lora_A" in name)
    save_file({**weights, name: torch.zeros(4, 999)}, adapters / "adapter_model.safetensors")


def take_another_method(adapters: Path) -> None:
    config = json.loads((adapters / "adapter_config.json").read_text())
    IA3Config(target_modules=["q_proj"], feedforward_modules=[]).save_pretrained(str(adapters))
    other = json.loads((adapters / "adapter_config.json").read_text())
    other["base_model_name_or_path"] = config["base_model_name_or_path"]
    (adapters / "adapter_config.json").write_text(json.dumps(other))


def belong_to_a_head(adapters: Path) -> None:
    (adapters / "noisy_action_projector--5_checkpoint.pt").write_text("")


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
        (belong_to_a_head, "diffusion head"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_what_cannot_be_merged_is_one_sentence_and_leaves_nothing(
    damage: Callable[[Path], None], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    foreign(tmp_path / "adapters", tmp_path / "base", target_modules=["q_proj"])
    damage(tmp_path / "adapters")
    before = set(tmp_path.iterdir())
    assert main(["export", str(tmp_path / "adapters"), str(tmp_path / "out")]) == 2
    errors = capsys.readouterr().err
    assert said in errors and errors.startswith("error: ") and "Traceback" not in errors
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize("command", ["train", "eval"])
def test_the_advice_elsewhere_is_the_command_that_works(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
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


def exists_whole(folder: Path) -> bool:
    return OpenVlaPolicy.load(folder, SETTINGS).model.state_dict().keys() == published_shapes(TINY).keys()


def test_adapters_on_the_hub_are_merged_by_their_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tgrpo_trainer.policy.hub import FoundCheckpoint

    foreign(tmp_path / "adapters", tmp_path / "base", target_modules=["q_proj"])
    found = FoundCheckpoint(tmp_path / "adapters", "somebody/adapters@0")
    monkeypatch.setattr("tgrpo_trainer.evaluation.source.resolve_checkpoint", lambda name: found)
    assert main(["export", "somebody/adapters", str(tmp_path / "out")]) == 0
    assert exists_whole(tmp_path / "out")
