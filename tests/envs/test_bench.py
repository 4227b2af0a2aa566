"""The benchmark runs and reports what it promises; its speeds are read, never asserted."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tgrpo_envs import bench


def test_the_report_and_its_file_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "STEPS": 10,
        "PICTURE_ROUNDS": 1,
        "IMAGE_SIZES": (32, 128),
        "NUM_ENVS": 2,
        "SCALES": (1, 2),
        "SCALE_ROUNDS": 1,
        "MEMORY_ENVS": 2,
    }.items():
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
