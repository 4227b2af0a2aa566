"""OpenVLA's commands print no warnings of the libraries below them: what those deprecate is not called."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from tests.helpers.tiny_openvla import openvla_input, tiny_openvla
from tgrpo_trainer.__main__ import main

ROOT = Path(__file__).resolve().parents[3]
BENCH = ["bench", "--device", "cpu", "--size", "tiny", "--batch-sizes", "1"]
BENCH += ["--num-decisions", "2", "--microbatch-size", "2"]


def test_loading_playing_learning_and_saving_warn_of_nothing(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        policy = tiny_openvla(tmp_path, gradient_checkpointing=True)
        obs = openvla_input(policy, ["reach", "pick up the bowl"])
        tokens_NK = policy.sample(obs).choices_NK
        policy.train().log_prob(obs, tokens_NK).logp_NK.sum().backward()
        (tmp_path / "saved").mkdir()
        policy.save(tmp_path / "saved")
        assert main(["memory", "--checkpoint", str(tmp_path)]) == 0


@pytest.mark.slow
def test_a_command_writes_nothing_to_stderr() -> None:
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "default"}
    command = [sys.executable, "-m", "tgrpo_trainer", *BENCH]
    finished = subprocess.run(command, env=variables, capture_output=True, text=True, check=True)
    assert finished.stderr == ""
