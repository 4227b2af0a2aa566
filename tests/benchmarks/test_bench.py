"""The benchmark runs and reports what it promises; its speeds are read, never asserted."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.envs import bench
from benchmarks.envs.plot import BenchNumbers
from tgrpo_envs.__main__ import main


def test_the_report_and_its_file_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "STEPS": 10,
        "PICTURE_ROUNDS": 1,
        "IMAGE_SIZES": (32, 128),
        "NUM_ENVS": 2,
        "SCALES": (1, 2),
        "SCALE_ROUNDS": 1,
        "MEMORY_ENVS": 2,
        "PIXEL_SCALES": (1, 2),
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
    (ours,) = BenchNumbers.load(out).bars().values()
    assert sum(ours) > 0
    assert set(BenchNumbers.load(out).scaling()) == {1, 2}
    rewards = [row for row in found["measurements"] if "share of a step" in row["what"]]
    assert [row["what"].partition("stages of ")[2] for row in rewards] == ["the goal's template", "a language model"]
    assert all(row["unit"] == "%" and row["goal"] == "<= 3" for row in rewards)
    assert any("floor" in row["what"] and row["goal"] == "<= 1.3" for row in found["measurements"])


def written(folder: Path, assets: str) -> Path:
    """Numbers as the benchmark writes them, round ones."""
    values = {
        "control step, state only": 1.5,
        "its floor, mj_step(nstep=25)": 1.25,
        "step and 2 pictures, 128 px": 4.0,
        "LIBERO: control step, state only": 9.0,
        "LIBERO: control step, 2 pictures, 128 px": 50.0,
        "control steps per second, N = 1, 1 thread": 600.0,
        "control steps per second, N = 8, 1 thread": 610.0,
        "control steps per second, N = 8, 2 threads": 1200.0,
    }
    file = folder / f"{assets}.json"
    rows = [{"what": what, "value": value} for what, value in values.items()]
    file.write_text(json.dumps({"assets": assets, "measurements": rows}))
    return file


def test_bars_add_up_to_what_was_measured(tmp_path: Path) -> None:
    run = BenchNumbers.load(written(tmp_path, "primitive"))
    assert run.bars() == {"ours, primitive assets": (1.25, 0.25, 2.5), "LIBERO, primitive assets": (1.25, 7.75, 41.0)}
    assert run.scaling() == {1: [(1, 600.0), (8, 610.0)], 2: [(8, 1200.0)]}


def test_two_packs_are_drawn_into_one_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [str(written(tmp_path, assets)) for assets in ("primitive", "libero")]
    assert main(["bench", "--plot", str(tmp_path / "speed.png"), "--numbers", *files]) == 0
    pixels = np.asarray(Image.open(tmp_path / "speed.png").convert("RGB"))
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 20
    (tmp_path / "other.json").write_text("{}")
    assert main(["bench", "--plot", str(tmp_path / "speed.png"), "--numbers", str(tmp_path / "other.json")]) == 2
    assert main(["bench", "--plot", str(tmp_path / "speed.png")]) == 2
    assert "other.json holds no numbers" in capsys.readouterr().err
