"""Every numbered example runs as a user would run it."""

from __future__ import annotations

import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.seen import seen
from tgrpo_envs.evaluate.policies import open_policy
from tgrpo_trainer.__main__ import parse_run
from tgrpo_trainer.bc.initial_policy import start_policy
from tgrpo_trainer.metrics.metrics import read_metrics
from tgrpo_trainer.policy.openvla.policy import OpenVlaPolicy

FOLDER = Path(__file__).parents[2] / "examples"
TINY_OPENVLA = FOLDER / "08_tiny_openvla.py"  # has tests of its own
PPO_GRASP = FOLDER / "09_ppo_learns_a_grasp.py"  # twenty minutes, unless it is told otherwise
SERVER = FOLDER / "11_policy_server.py"  # serves until it is stopped
EXAMPLES = sorted(set(FOLDER.glob("[0-9]*.py")) - {TINY_OPENVLA, PPO_GRASP, SERVER})


def run_example(example: Path, *arguments: str, cwd: Path) -> str:
    """What it prints."""
    done = subprocess.run(
        [sys.executable, example, *arguments], cwd=cwd, capture_output=True, text=True, timeout=1800, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs(example: Path, tmp_path: Path) -> None:
    assert run_example(example, cwd=tmp_path).strip()


@pytest.mark.parametrize(("protocol", "spec"), [("openpi", "openpi:ws"), ("oft", "oft:http")])
def test_a_server_of_ones_own_answers_an_evaluation(protocol: str, spec: str) -> None:
    command = [sys.executable, str(SERVER), protocol, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            port = server.stdout.readline().split()[-1]
            policy = open_policy(f"{spec}://127.0.0.1:{port}", timeout_s=60)
            answers = policy.act(seen(2, size=256))
            policy.close()
        finally:
            server.kill()
    lowered = np.array([0.0, 0.0, -0.2, 0.0, 0.0, 0.0, -1.0])  # -1 opens: OFT's 1 means open
    assert len(answers) == 2
    for actions_CA in answers:
        np.testing.assert_allclose(actions_CA, np.tile(lowered, (len(actions_CA), 1)), rtol=1e-6)


def test_ppo_on_states_writes_its_curve(tmp_path: Path) -> None:
    run_example(PPO_GRASP, "--decisions", "480", "--num-envs", "4", "--out", "curve", cwd=tmp_path)
    heading, *rows = (tmp_path / "curve" / "curve.csv").read_text().splitlines()
    assert heading.startswith("minutes,decisions,reach_bbq_sauce_1,grasp_bbq_sauce_1,")
    assert [int(row.split(",")[1]) for row in rows] == [240, 480]  # each with episodes of 30 decisions at most
    assert (tmp_path / "curve" / "curve.png").stat().st_size > 0


def test_the_tiny_openvla_starts_with_the_command_that_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    printed = run_example(TINY_OPENVLA, "--out", "written", "--run.seed", "3", cwd=tmp_path)
    command = shlex.split(printed.splitlines()[-1].removeprefix("Training: "))
    assert command[1:4] == ["-m", "tgrpo_trainer", "train"]
    config = parse_run("train", command[4:])
    assert (config.policy.checkpoint, config.run.seed) == ("written", 3)
    policy = start_policy(config.replace(sft={"max_steps": 0}), tmp_path)
    assert policy.action_chunk == config.env.action_chunk and policy.image_size == config.env.image_size
    assert isinstance(policy, OpenVlaPolicy)
    assert policy.model.architecture == runpy.run_path(str(TINY_OPENVLA))["architecture"]()
    count = sum(parameter.numel() for parameter in policy.parameters())
    assert f"{count / 1e6:.1f} million" in printed and count < 3e6


@pytest.mark.slow
def test_the_tiny_openvla_trains(tmp_path: Path) -> None:
    """Everything once, at the smallest size."""
    small = "--sft.num-demos 1 --sft.max-steps 2 --rollout.num-groups 1 --rollout.num-generations 2 --run.iterations 1"
    small += " --env.horizon 16 --evaluation.num-heldout 1 --evaluation.num-official 1 --run.name small"
    run_example(TINY_OPENVLA, "--train", *small.split(), cwd=tmp_path)
    assert [row["iteration"] for row in read_metrics(tmp_path / "runs" / "small")] == [0, 1, 1]
