"""A folder in which PPO has learnt: what other commands take of it, and that it is not learnt in twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from tgrpo_trainer.__main__ import main
from tgrpo_trainer.evaluation.source import find_source
from tgrpo_trainer.metrics.metrics import JSONL_NAME, read_metrics
from tgrpo_trainer.policy.nano.policy import NanoConfig, NanoPolicy
from tgrpo_trainer.recipes import smoke
from tgrpo_trainer.run.checkpoint import read_state, save_checkpoint

ITERATIONS = 2


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """As `sft` leaves it, with short episodes."""
    folder, recipe = tmp_path / "run", smoke()
    recipe.replace(
        env={**recipe.env.model_dump(), "horizon": 16},
        evaluation={"num_heldout": 1, "num_official": 0},
        run={**recipe.run.model_dump(), "folder": tmp_path, "name": "run", "iterations": ITERATIONS},
    ).save(folder / "config.json")
    policy = NanoPolicy(NanoConfig(image_size=32, action_chunk=8))
    save_checkpoint(folder / "last", iteration=0, policy=policy, state={"elapsed_s": 1000.0})
    return folder


def test_a_minibatch_of_one_is_refused(clone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ppo", "--resume", str(clone), "--update.minibatch-size", "1"]) == 2
    assert "update.minibatch_size is 1, but PPO compares" in capsys.readouterr().err


def test_its_last_policy_is_the_folder_s_and_nothing_is_done_twice(
    clone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ppo", "--resume", str(clone)]) == 0
    assert read_state(clone / "last" / "iteration_000002")["elapsed_s"] > 1000.0  # those of cloning are the run's
    # eval, serve and export would take the clone, and train would go on from it beside PPO's evaluations.
    assert find_source(clone).folder == clone / "last" / "iteration_000002"
    assert main(["train", "--resume", str(clone)]) == 2
    assert "holds no optimiser" in capsys.readouterr().err
    assert main(["report", str(clone)]) == 0  # its rollouts have no groups, so no spread within them

    evaluated = [row["iteration"] for row in read_metrics(clone) if any(key.startswith("eval/") for key in row)]
    assert evaluated == [0, ITERATIONS]
    before = (clone / JSONL_NAME).read_bytes()
    assert main(["ppo", "--resume", str(clone)]) == 0
    assert (clone / JSONL_NAME).read_bytes() == before
    assert main(["ppo", "--resume", str(clone), "--run.iterations", "3"]) == 2
    assert "has learnt already" in capsys.readouterr().err
