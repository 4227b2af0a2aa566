"""Metrics: means that merge, files that survive a crash, and a document that knows every key."""

from __future__ import annotations

import errno
import functools
import math
import os
import re
import resource
from pathlib import Path

import pytest
import torch

from tests.helpers.runs import number
from tests.helpers.scripted_policy import StraightPolicy
from tests.helpers.toy_env import ToyReach
from tests.helpers.toy_run import make_toy_envs, toy_config
from tgrpo_envs.errors import CheckpointError, OutputError, TrainingError
from tgrpo_trainer.config import EnvConfig
from tgrpo_trainer.metrics.metrics import Mean, Metrics, MetricsWriter, merge_metrics, read_metrics, rollout_metrics
from tgrpo_trainer.rollout.rollout import Sampling, collect_groups
from tgrpo_trainer.rollout.tasks import TaskEnvs
from tgrpo_trainer.train import train

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "metrics.md"


def test_means_of_unequal_weight_merge_to_the_mean_of_all() -> None:
    merged = Mean.of([1, 0]) + Mean.of([1, 1, 1] + [0] * 7)
    assert merged.value == pytest.approx(4 / 12)
    assert math.isnan(Mean.of([]).value)


def test_rows_after_the_last_finished_iteration_are_dropped_on_resume(tmp_path: Path) -> None:
    writer = MetricsWriter(tmp_path, next_iteration=1)
    for iteration in (1, 2, 3):
        writer.write(iteration, {"a": Mean(iteration, 1)})
    writer.close()
    writer = MetricsWriter(tmp_path, next_iteration=3)
    writer.write(3, {"a": math.inf})
    writer.close()
    assert read_metrics(tmp_path) == [
        {"iteration": 1, "a": 1.0},
        {"iteration": 2, "a": 2.0},
        {"iteration": 3, "a": None},
    ]


def test_a_line_cut_off_by_a_crash_is_skipped_but_damage_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"iteration": 1}\n{"iterat')
    assert read_metrics(tmp_path) == [{"iteration": 1}]
    path.write_text('{"iteration": 1}\n{"iterat\n{"iteration": 3}\n')
    with pytest.raises(CheckpointError, match="line 2"):
        read_metrics(tmp_path)


def test_a_full_disk_is_one_error_of_ours(tmp_path: Path) -> None:
    """Closing the log found the disk full too, and its error took the place of the one that says what to do."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with (
            pytest.raises(OutputError, match=r"metrics\.jsonl cannot be written \(File too large\)"),
            MetricsWriter(tmp_path, next_iteration=1) as log,
        ):
            log.write(1, {"x" * 2000: 1.0})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert read_metrics(tmp_path) == []


def test_closing_on_a_full_disk_replaces_no_other_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_log() -> MetricsWriter:
        log = MetricsWriter(tmp_path, next_iteration=1)
        close = log._board.close

        def close_and_fail() -> None:
            close()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(log._board, "close", close_and_fail)
        return log

    with pytest.raises(OutputError, match="No space left"), full_log():
        pass
    with pytest.raises(TrainingError, match="loss is nan"), full_log():
        raise TrainingError("The loss is nan.")


def test_rollout_metrics_of_a_known_rollout() -> None:
    # Members 0, 1, 3 walk to the goal in 7 control steps = 4 decisions with return 1; member 2 diverges in its third
    # decision after "near" (0.5) and two recorded decisions.
    envs = ToyReach(num_envs=4, diverge_at={2: 5})
    groups, _ = collect_groups(StraightPolicy(), envs, Sampling(), seeds=range(4), num_generations=2, end="each")
    values = {key: mean.value for key, mean in rollout_metrics(groups).items()}
    assert values == pytest.approx(
        {
            "rollout/success_rate": 3 / 4,
            "rollout/return": 3.5 / 4,
            "rollout/return_std": (0 + 0.5 / math.sqrt(2)) / 2,
            "rollout/progress": 3.5 / 4,
            "rollout/decisions": 14 / 4,
            "rollout/control_steps": (7 * 3 + 5) / 4,
            "end/success": 3 / 4,
            "end/horizon": 0,
            "end/group_cut": 0,
            "end/diverged": 1 / 4,
            "stage/near": 1,
            "stage/reached": 3 / 4,
        }
    )


def test_of_several_tasks_each_has_metrics_and_stages_of_its_own() -> None:
    envs = TaskEnvs(EnvConfig(tasks=(0, 1)), num_envs=6, group_size=2, make_envs=make_toy_tasks)
    members = envs.for_groups([0, 0, 1])
    groups, _ = collect_groups(StraightPolicy(), members, Sampling(), seeds=range(6), num_generations=2, end="each")
    values = {key: mean.value for key, mean in rollout_metrics(groups, ["task_00", "task_00", "task_01"]).items()}
    # All walk straight to the middle: the goal of the first two groups, and half a unit from the third's.
    assert values["rollout/success_rate"] == pytest.approx(2 / 3)
    assert (values["rollout/success_rate/task_00"], values["rollout/success_rate/task_01"]) == (1, 0)
    assert values["stage/reached/task_00"] == 1 and values["stage/reached/task_01"] == 0
    assert values["stage/seen/task_01"] == 1 and not {"stage/seen", "stage/seen/task_00"} & values.keys()


def make_toy_tasks(config: EnvConfig, num_envs: int) -> ToyReach:
    return ToyReach(num_envs, task=config.task)


def test_every_logged_key_is_defined_and_every_defined_key_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tgrpo_trainer.train.make_envs", make_toy_envs)
    monkeypatch.setattr("tgrpo_trainer.train.write_report", lambda folder: folder)
    monkeypatch.setattr("tgrpo_trainer.train._write_videos", lambda *_: None)
    torch.manual_seed(0)
    train(toy_config(tmp_path / "run", iterations=2))
    several = toy_config(tmp_path / "several", iterations=1)
    train(several.replace(env={**several.env.model_dump(), "tasks": (0, 1)}))
    rows = read_metrics(tmp_path / "run") + read_metrics(tmp_path / "several")
    logged = {key for row in rows for key in row} - {"iteration"}
    placeholders = {"<stage>": "[^/]+", "<set>_<mode>": "(heldout|official)_(greedy|sampled)", "<task>": r"task_\d\d"}
    patterns = {
        key: functools.reduce(lambda text, one: text.replace(*one), placeholders.items(), re.escape(key))
        for key in re.findall(r"^\| `([^`]+)` \|", DOCUMENT.read_text(encoding="utf-8"), flags=re.MULTILINE)
    }
    optional = {"memory/gpu_peak_gib"} - logged  # only where the policy is on a GPU
    undefined = {key for key in logged if not any(re.fullmatch(pattern, key) for pattern in patterns.values())}
    unused = {key for key, pattern in patterns.items() if not any(re.fullmatch(pattern, one) for one in logged)}
    assert undefined == set()
    assert unused == optional
    costs = read_metrics(tmp_path / "run")[1]
    parts = sum(number(costs, f"time/{name}_s") for name in ("env", "policy", "update", "idle"))
    assert 0 < parts <= number(costs, "time/iteration_s") and costs["time/idle_s"] == 0  # one process waits for nobody


def test_what_ranks_measured_is_merged_by_weight_and_memory_by_the_largest() -> None:
    parts: list[Metrics] = [{"rate": Mean(1, 2), "memory/peak_gib": 2.0}, {"rate": Mean(3, 10), "memory/peak_gib": 5.0}]
    merged = merge_metrics(parts)
    assert merged == {"rate": Mean(4, 12), "memory/peak_gib": 5.0}
