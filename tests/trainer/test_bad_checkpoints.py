"""Checkpoints that cannot be trained from are refused in one sentence by the command that was typed."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.helpers.tiny_openvla import STATISTICS, write_checkpoint
from tests.helpers.toy_run import make_toy_envs
from tgrpo_trainer.__main__ import main

FIRST_SHARD = "model-00001-of-00002.safetensors"


def lose_a_shard(folder):
    (folder / FIRST_SHARD).unlink()


def quantise(folder):
    weights = load_file(folder / FIRST_SHARD)
    save_file({name: value.to(torch.int8) for name, value in weights.items()}, folder / FIRST_SHARD)


def mix_types(folder):
    weights = load_file(folder / FIRST_SHARD)
    save_file({name: value.to(torch.float16) for name, value in weights.items()}, folder / FIRST_SHARD)


def take_another_tokenizer(folder):
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"] = {word: number + 9000 for word, number in tokenizer["model"]["vocab"].items()}
    tokenizer["post_processor"]["special_tokens"]["<s>"]["ids"] = [9001]
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))


def keep_only_the_spoken_tokenizer(folder):
    (folder / "tokenizer.json").rename(folder / "tokenizer.model")


def become_adapters_without_a_base(folder):
    (folder / "adapter_config.json").write_text("{}")


@pytest.mark.parametrize(
    ("damage", "options", "said"),
    [
        (lose_a_shard, [], f"{FIRST_SHARD} is missing, although"),
        (quantise, [], "Weights are stored as I8"),
        (mix_types, [], "choose one with --policy.openvla.dtype"),
        (take_another_tokenizer, [], "it is another model's"),
        (keep_only_the_spoken_tokenizer, [], "a tokenizer.model alone is not enough"),
        (become_adapters_without_a_base, [], "merge them first"),
        (None, ["--policy.openvla.unnorm-key", "bridge"], " or ".join(sorted(STATISTICS))),
        (None, ["--env.suite", "libero_90"], "libero_90"),
        (None, ["--policy.openvla.lora.rank", "1000"], "LoRA's rank is 1000, more than"),
        (None, ["--update.optimizer", "adamw_stochastic"], "adamw_stochastic rounds to bfloat16, but"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_it_is_one_sentence_and_exit_code_2(damage, options, said, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("tgrpo_trainer.train.make_envs", make_toy_envs)
    folder = write_checkpoint(tmp_path / "published")
    if damage is not None:
        damage(folder)
    fixed = ["--policy.checkpoint", str(folder), "--env.image-size", "16", "--run.folder", str(tmp_path)]
    fixed += ["--run.device", "cpu", "--policy.openvla.lora.rank", "4"]
    given = {**dict(zip(fixed[::2], fixed[1::2], strict=True)), **dict(zip(options[::2], options[1::2], strict=True))}
    assert main(["train", "--recipe", "openvla_libero", *(part for pair in given.items() for part in pair)]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("error: ") and "Traceback" not in errors
    assert all(part in errors for part in said.split(" or "))
