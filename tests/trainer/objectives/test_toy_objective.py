"""An objective of one's own is one class: this file's trains, resumes, and has its options on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
import torch
from pydantic import Field
from torch import Tensor

from tests.helpers.runs import assert_same_run, logged, number
from tests.helpers.toy_run import make_toy_envs, toy_config
from tgrpo_trainer.__main__ import parse_run
from tgrpo_trainer.config import TrainConfig
from tgrpo_trainer.objectives import OBJECTIVES, Objective
from tgrpo_trainer.objectives.advantages import AdvantageResult
from tgrpo_trainer.run.checkpoint import load_checkpoint
from tgrpo_trainer.train import train
from tgrpo_trainer.types import Batch, LogProbs, TrajectoryGroup


class ImitateTheBest(Objective):
    """Clone the member of each group that returned most: no ratio, no clipping, no reference."""

    kind: Literal["imitate_the_best"] = "imitate_the_best"
    """Name of the objective."""
    strength: float = Field(default=1.0, gt=0)
    """Advantage of the best member's decisions."""

    def advantages(self, group: TrajectoryGroup) -> AdvantageResult:
        returns_G = group.rewards_GT.sum(1)
        best_G = (returns_G == returns_G.max()) & (returns_G > returns_G.min())
        return AdvantageResult(self.strength * (best_G[:, None] & group.mask_GT).to(torch.float64))

    def loss(
        self, scored: LogProbs, rows: Batch, *, old_logp_NK: Tensor, ref_logp_NK: Tensor | None, denominator: float
    ) -> tuple[Tensor, dict[str, Tensor]]:
        assert ref_logp_NK is None
        share_N1 = (rows.weights_N * rows.advantages_N / denominator)[:, None]
        loss = -(share_N1 * rows.mask_NK * scored.logp_NK).sum()
        change = (share_N1 * rows.mask_NK * (scored.logp_NK - old_logp_NK)).sum()
        return loss, {"likelier": change.detach(), "approx_kl": torch.zeros(())}


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OBJECTIVES, "imitate_the_best", ImitateTheBest)
    monkeypatch.setattr("tgrpo_trainer.train.make_envs", make_toy_envs)


def config_of(folder: Path, iterations: int) -> TrainConfig:
    return toy_config(folder, iterations).replace(objective={"kind": "imitate_the_best", "strength": 2.0})


def test_a_whole_run_with_an_objective_of_one_file(tmp_path: Path) -> None:
    report = train(config_of(tmp_path / "run", 3))
    assert report.is_file()
    assert TrainConfig.load(tmp_path / "run" / "config.json").objective == ImitateTheBest(strength=2.0)
    rows = [row for row in logged(tmp_path / "run") if row.get("update/optimiser_steps")]
    assert rows and all("update/likelier" in row and "update/clip_ratio/low" not in row for row in rows)
    assert not any("step_term/singleton" in row for row in logged(tmp_path / "run"))
    # A second pass finds its decisions likelier than drawn.
    assert sum(number(row, "update/likelier") for row in rows) > 0
    first, last = (load_checkpoint(tmp_path / "run" / "checkpoints" / f"iteration_{i:06d}").policy for i in (0, 3))
    assert any(not torch.equal(a, b) for a, b in zip(first.parameters(), last.parameters(), strict=True))


def test_it_resumes_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tgrpo_trainer.train.write_report", lambda folder: folder / "report.html")
    monkeypatch.setattr("tgrpo_trainer.train._write_videos", lambda *_: None)
    fixed = {"warmup_iterations": 0, "final_learning_rate_ratio": 1.0}  # a schedule that does not know the run's end

    def run(name: str, iterations: int) -> None:
        config = config_of(tmp_path / name, iterations)
        train(config.replace(update={**config.update.model_dump(), **fixed}))

    run("whole", 4)
    run("parts", 2)
    run("parts", 4)
    assert_same_run(tmp_path / "parts", tmp_path / "whole")


def test_its_options_are_on_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # whatever runs lie in the folder of the tests
    config = parse_run("train", ["--objective.kind", "imitate_the_best", "--objective.strength", "3"])
    assert config.objective == ImitateTheBest(strength=3.0, beta=0.02)  # beta is the recipe's
    assert config.env == parse_run("train", []).env
