"""Resident memory stays flat over many iterations with ever other numbers of rows; `-s` shows the figures."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

from tests.helpers.runs import number
from tests.helpers.toy_env import ToyReach
from tests.helpers.toy_run import toy_config
from tgrpo_trainer.config import EnvConfig
from tgrpo_trainer.metrics.metrics import read_metrics
from tgrpo_trainer.metrics.timing import GIB, resident_memory_gib, return_free_memory
from tgrpo_trainer.policy.nano.policy import NanoConfig, NanoPolicy
from tgrpo_trainer.train import train
from tgrpo_trainer.types import PolicyInput

ITERATIONS = 200
SHOWN = (10, 50, 100, 200)
MOST_GROWTH_GIB = 24 / 1024
"""Of 7 to 13 MiB an update, which was to be cured, 190 updates would make more than a GiB."""


def test_resident_memory_counts_what_is_there_and_what_went_back() -> None:
    return_free_memory()
    before = resident_memory_gib()
    block = torch.ones(2**26)  # 256 MiB
    with_block = resident_memory_gib()
    del block
    return_free_memory()
    assert with_block - before == pytest.approx(2**28 / GIB, abs=0.05)
    assert resident_memory_gib() - before == pytest.approx(0, abs=0.05)


@pytest.mark.slow
def test_passes_over_varying_numbers_of_rows_leave_nothing() -> None:
    policy, draw = NanoPolicy(NanoConfig(image_size=64, action_chunk=8)), random.Random(0)
    sizes = [
        256,
        *(draw.randint(1, 256) for _ in range(ITERATIONS - 1)),
    ]  # the largest first: memory it needs is no leak
    resident = []
    for num_rows in sizes:
        images = torch.zeros(num_rows, 64, 64, 3, dtype=torch.uint8)
        obs = PolicyInput(images, images, torch.zeros(num_rows, 12), policy.encode_instructions(["pick"] * num_rows))
        sample = policy.sample(obs.rows(slice(0, 1 + num_rows // 3)))
        assert len(sample.choices_NK) == 1 + num_rows // 3
        policy(obs, torch.zeros(num_rows, 56, dtype=torch.long)).logp_NK.sum().backward()
        resident.append(resident_memory_gib())
    show("passes", [resident[i - 1] for i in SHOWN])
    # The heap is not given back between passes, so what a single one leaves goes up and down.
    assert max(resident[100:]) < max(resident[:50]) + MOST_GROWTH_GIB


@pytest.mark.slow
def test_a_training_of_two_hundred_iterations_stays_flat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def make_envs(config: EnvConfig, num_envs: int) -> ToyReach:
        return ToyReach(num_envs, action_chunk=config.action_chunk, horizon=config.horizon)

    monkeypatch.setattr("tests.helpers.toy_env.IMAGE_SIZE", 64)
    monkeypatch.setattr("tests.helpers.toy_env.NEAR_RADIUS", 0.75)
    monkeypatch.setattr("tgrpo_trainer.train.make_envs", make_envs)
    monkeypatch.setattr("tgrpo_trainer.train.write_report", lambda folder: folder)
    monkeypatch.setattr("tgrpo_trainer.train._write_videos", lambda *_: None)
    config = toy_config(tmp_path / "run", iterations=ITERATIONS)
    config = config.replace(
        env={**config.env.model_dump(), "image_size": 64},
        rollout={**config.rollout.model_dump(), "num_groups": 3, "num_generations": 4},
        update={**config.update.model_dump(), "num_iterations": 1, "minibatch_size": 256},
        evaluation={**config.evaluation.model_dump(), "every": 1000},
    )
    train(config)
    rows = [row for row in read_metrics(tmp_path / "run") if "memory/resident_gib" in row]
    resident = [number(row, "memory/resident_gib") for row in rows]
    show("training", [resident[i - 1] for i in SHOWN])
    show_seconds(rows)
    assert len({row["rollout/decisions"] for row in rows}) > 10  # ever other numbers of rows
    assert resident[-1] < resident[9] + MOST_GROWTH_GIB
    assert max(resident[100:]) < max(resident[:20]) + MOST_GROWTH_GIB


def show(what: str, resident: list[float]) -> None:
    figures = ", ".join(f"{i}: {1024 * gib:.0f} MiB" for i, gib in zip(SHOWN, resident, strict=True))
    print(f"resident after so many {what}: {figures}")


def show_seconds(rows: list[dict[str, float | None]]) -> None:
    print(f"update: {sum(number(row, 'time/update_s') for row in rows):.1f} s in all")
