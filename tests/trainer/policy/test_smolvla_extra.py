"""SmolVLA where LeRobot is not installed: the extra is named, in one sentence."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tgrpo_envs.errors import CheckpointError
from tgrpo_trainer.__main__ import main
from tgrpo_trainer.policy import policy_class, policy_kind


@pytest.mark.parametrize("command", ["eval", "train"])
def test_a_checkpoint_of_lerobots_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    for name in ("lerobot", "lerobot.policies.smolvla.configuration_smolvla"):  # as if it were not there
        monkeypatch.setitem(sys.modules, name, None)
    folder = tmp_path / "published"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"type": "smolvla", "chunk_size": 50}))
    assert policy_kind(folder) == "smolvla" and policy_class("smolvla").is_published(folder)
    train = ["--recipe", "smolvla_libero", "--policy.checkpoint", str(folder), "--env.assets", "primitive"]
    options = {
        "eval": [str(folder), "--assets", "primitive", "--device", "cpu"],
        "train": [*train, "--run.folder", str(tmp_path), "--run.device", "cpu"],
    }
    assert main([command, *options[command]]) != 0
    said = capsys.readouterr().err
    assert "needs the package lerobot" in said and "pip install 'tgrpo[lerobot]'" in said and "Python 3.12" in said


def test_lerobots_adapters_are_not_taken_for_openvlas(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA"}))
    assert policy_kind(tmp_path) == "openvla"
    (tmp_path / "config.json").write_text(json.dumps({"type": "smolvla"}))
    with pytest.raises(CheckpointError, match="LoRA adapters of a smolvla policy"):
        policy_kind(tmp_path)
