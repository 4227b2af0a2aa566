"""The benchmark runs, reports what it promises, and the control step stays near its floor."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tgrpo_envs import bench
from tgrpo_envs.scene import load_scene, official_states
from tgrpo_envs.sim.timing import step_and_floor_seconds
from tgrpo_envs.tasks import get_task


def test_the_report_and_its_file_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"STEPS": 10, "PICTURE_ROUNDS": 1, "IMAGE_SIZES": (32, 128), "NUM_ENVS": 2}.items():
        monkeypatch.setattr(bench, name, value)
    out = tmp_path / "bench.json"
    report = bench.run_bench(assets="primitive", official=False, out=out)
    found = json.loads(out.read_text())
    assert found["assets"] == "primitive"
    assert found["mujoco"] in report
    for row in found["measurements"]:
        assert np.isfinite(row["value"])
        assert row["value"] > 0
        assert row["what"] in report
    assert any("floor" in row["what"] and row["goal"] == "<= 1.3" for row in found["measurements"])


def test_a_control_step_costs_little_more_than_its_physics() -> None:
    """The bound is 1.3; the fastest pairs are compared, since a busy machine stretches single ones."""
    scene = load_scene(get_task("libero_object", 0), "primitive")
    actions_TA = np.random.default_rng(0).uniform(-1, 1, (120, 7))
    ours_T, floor_T = step_and_floor_seconds(scene, official_states(scene).take(np.array([0])), actions_TA)
    assert np.quantile(ours_T, 0.1) < 1.5 * np.quantile(floor_T, 0.1)
