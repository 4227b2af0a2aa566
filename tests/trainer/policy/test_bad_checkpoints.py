"""Checkpoints that cannot be trained from are refused in one sentence by the command that was typed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.helpers.tiny_openvla import STATISTICS, write_checkpoint
from tests.helpers.toy_run import make_toy_envs
from tgrpo_envs.errors import CheckpointError
from tgrpo_trainer.__main__ import main
from tgrpo_trainer.policy.openvla.policy import OpenVlaPolicy
from tgrpo_trainer.policy.openvla.saved_settings import OpenVlaSettings

INDEX = "model.safetensors.index.json"
FIRST_SHARD = "model-00001-of-00002.safetensors"

Change = Callable[[Path], None]
"""Something done to a folder."""


def lose_a_shard(folder: Path) -> None:
    (folder / FIRST_SHARD).unlink()


def quantise(folder: Path) -> None:
    weights = load_file(folder / FIRST_SHARD)
    save_file({name: value.to(torch.int8) for name, value in weights.items()}, folder / FIRST_SHARD)


def mix_types(folder: Path) -> None:
    weights = load_file(folder / FIRST_SHARD)
    save_file({name: value.to(torch.float16) for name, value in weights.items()}, folder / FIRST_SHARD)


def take_another_tokenizer(folder: Path) -> None:
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"] = {word: number + 9000 for word, number in tokenizer["model"]["vocab"].items()}
    tokenizer["post_processor"]["special_tokens"]["<s>"]["ids"] = [9001]
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))


def keep_only_the_spoken_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").rename(folder / "tokenizer.model")


def become_adapters_without_a_base(folder: Path) -> None:
    (folder / "adapter_config.json").write_text("{}")


def add_a_file(name: str) -> Change:
    def add(folder: Path) -> None:
        (folder / name).write_bytes(b"never read")

    add.__name__ = f"beside_{name}"
    return add


def say_in_the_config(**more: Any) -> Change:
    def say(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, **more}))

    say.__name__ = f"config_{more}"
    return say


def hold_a_tensor(name: str) -> Change:
    def hold(folder: Path) -> None:
        weights = load_file(folder / FIRST_SHARD)
        save_file({**weights, name: torch.zeros(2)}, folder / FIRST_SHARD)
        index = json.loads((folder / INDEX).read_text())
        index["weight_map"][name] = FIRST_SHARD
        (folder / INDEX).write_text(json.dumps(index))

    hold.__name__ = f"tensor_{name}"
    return hold


OTHERS = [
    (add_a_file("noisy_action_projector--5_checkpoint.pt"), "noisy_action_projector--5_checkpoint.pt"),
    (say_in_the_config(use_diffusion=True), "says use_diffusion"),
    (hold_a_tensor("noisy_action_projector.fc1.weight"), "diffusion head"),
]
"""Models of another head or other inputs, whose weights would load, and what the refusal says."""


@pytest.mark.parametrize(("change", "said"), OTHERS, ids=lambda value: getattr(value, "__name__", None))
def test_a_model_of_another_head_or_other_inputs_is_refused_by_name(change: Change, said: str, tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path)
    change(folder)
    with pytest.raises(CheckpointError) as caught:
        OpenVlaPolicy.load(folder, OpenVlaSettings("libero_object"))
    assert said in str(caught.value) and "plays OpenVLA's token head and OpenVLA-OFT's L1" in str(caught.value)


def test_settings_that_say_nothing_against_it_are_taken(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path)
    say_in_the_config(use_proprio=False, use_film=False, num_images_in_input=1, num_action_chunks=8)(folder)
    for name in ("pytorch_model.bin", "training--5_checkpoint.pt", "lora_adapter"):
        add_a_file(name)(folder)
    assert OpenVlaPolicy.load(folder, OpenVlaSettings("libero_object")).towers == ("dinov2", "siglip")


@pytest.mark.parametrize(
    ("damage", "options", "said"),
    [
        (lose_a_shard, [], f"{FIRST_SHARD} is missing, although"),
        (quantise, [], "Weights are stored as I8"),
        (mix_types, [], "choose one with --policy.openvla.dtype"),
        (take_another_tokenizer, [], "it is another model's"),
        (keep_only_the_spoken_tokenizer, [], "a tokenizer.model alone is not enough"),
        (become_adapters_without_a_base, [], "merge them first"),
        (add_a_file("action_head--5_checkpoint.pt"), [], "holds more than tensors and is therefore not read"),
        (add_a_file("noisy_action_projector--5_checkpoint.pt"), [], "diffusion head"),
        (None, ["--policy.openvla.unnorm-key", "bridge"], " or ".join(sorted(STATISTICS))),
        (None, ["--env.suite", "libero_90"], "libero_90"),
        (None, ["--policy.lora.rank", "1000"], "LoRA's rank is 1000, more than"),
        (None, ["--update.optimizer", "adamw_stochastic"], "adamw_stochastic rounds to bfloat16, but"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_it_is_one_sentence_and_exit_code_2(
    damage: Change | None,
    options: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("tgrpo_trainer.train.make_envs", make_toy_envs)
    folder = write_checkpoint(tmp_path / "published")
    if damage is not None:
        damage(folder)
    fixed = ["--policy.checkpoint", str(folder), "--env.image-size", "16", "--run.folder", str(tmp_path)]
    fixed += ["--run.device", "cpu", "--policy.lora.rank", "4"]
    given = {**dict(zip(fixed[::2], fixed[1::2], strict=True)), **dict(zip(options[::2], options[1::2], strict=True))}
    assert main(["train", "--recipe", "openvla_libero", *(part for pair in given.items() for part in pair)]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("error: ") and "Traceback" not in errors
    assert all(part in errors for part in said.split(" or "))
