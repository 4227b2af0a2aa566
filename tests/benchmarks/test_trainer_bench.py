"""The benchmark of the trainer: known shares, every row in the report and its file, and a plain loop that agrees."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.table import Measurement, as_text, not_run
from benchmarks.trainer import budget, run, subject, timing
from benchmarks.trainer.iteration import iteration_config, iteration_rows
from benchmarks.trainer.plain import plain_decision
from benchmarks.trainer.roofline import DATA_SHEETS, Roof, floor_seconds
from benchmarks.trainer.subject import get_size, random_input, random_policy, refuse_too_large
from benchmarks.trainer.work import Work
from tests.helpers.tiny_openvla import openvla_input, tiny_openvla, write_checkpoint
from tests.helpers.toy_run import make_toy_envs
from tgrpo_envs.errors import ConfigError, UnknownNameError
from tgrpo_trainer.__main__ import BenchOptions, main

CPU = torch.device("cpu")
PHASES = ("pictures", "vision", "prefill", "decode")
UPDATE_ROWS = (
    "a step of 2 decisions",
    "decisions per second",
    "tokens per second",
    "useful operations",
    "share of the measured matrix product",
    "MFU by the data sheet",
    "peak memory",
)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "COPY_BYTES", {"cpu": 2**20})
    monkeypatch.setattr(timing, "MATRIX_SIZE", {"cpu": 64})
    monkeypatch.setattr(run, "REPEATS", {"cpu": 1})
    monkeypatch.setattr(run, "UPDATE_REPEATS", 1)


def test_a_phase_takes_as_long_as_the_slower_of_its_two_limits() -> None:
    roof = Roof(bytes_per_s=100.0, flops_per_s=1000.0)
    moving, computing = Work(flops=500, nbytes=200), Work(flops=3000, nbytes=200)
    assert roof.seconds(moving) == 2.0 and roof.seconds(computing) == 3.0
    assert floor_seconds(roof, [moving, computing]) == 5.0
    assert Measurement("decode", 8000.0, "ms", floor=2000.0).share == 25.0
    assert not_run("decode", "ms", "no GPU").share is None


def test_the_table_reads_well() -> None:
    rows = [
        Measurement("decode", 40.0, "ms", floor=30.0),
        Measurement("tokens per second", 1234.5, "1/s", ">= 1000"),
        Measurement("share", 0.01234, "%"),
        not_run("memory", "GiB", "needs a GPU", "<= 139"),
    ]
    assert as_text({"model": "tiny", "threads": 1}, rows, "Not the 7B model.").splitlines() == [
        "model tiny, threads 1",
        "",
        "decode                  40.00 ms       floor 30.00 ms, 75 % of the roofline",
        "tokens per second       1,234 1/s      goal >= 1000",
        "share                  0.0123 %",
        "memory                not run GiB      (needs a GPU); goal <= 139",
        "",
        "Not the 7B model.",
    ]


def test_data_sheets_hold_what_can_be_told_of_them() -> None:
    for roof in DATA_SHEETS.values():
        assert 1e12 <= roof.bytes_per_s <= 5e12 and 100e12 < roof.flops_per_s < 1000e12
    # Same chip, other memory.
    h200, h100 = DATA_SHEETS["NVIDIA H200"], DATA_SHEETS["NVIDIA H100 80GB HBM3"]
    assert h200.flops_per_s == h100.flops_per_s and h200.bytes_per_s / h100.bytes_per_s == pytest.approx(1.43, abs=0.01)


def test_timing_is_the_median_after_the_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 1.0, 10.0, 15.0, 20.0, 22.0])  # 1, 5 and 2 seconds
    monkeypatch.setattr("benchmarks.trainer.timing.time.perf_counter", lambda: next(clock))
    calls = []
    assert timing.seconds_of(lambda: calls.append(0), CPU, repeats=3, warmups=2) == 2.0
    assert len(calls) == 5


def test_memory_is_told_in_gibibytes() -> None:
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    assert 0.05 < timing.peak_memory(CPU) < machine and 0.05 < timing.free_memory(CPU) < machine


def test_the_plain_loop_draws_the_tokens_of_cached_decoding(tmp_path: Path) -> None:
    policy = tiny_openvla(tmp_path).eval()
    obs = openvla_input(policy, ["pick up the bowl"] * 4)
    cached_NK = policy.sample(obs, greedy=True).choices_NK
    assert [plain_decision(policy, obs.rows(slice(i, i + 1))) for i in range(4)] == cached_NK.tolist()
    assert len({tuple(row) for row in cached_NK.tolist()}) == 4

    random = random_policy(get_size("tiny"), CPU, torch.float32)
    obs = random_input(random, 3)
    cached_NK = random.sample(obs, greedy=True).choices_NK
    assert [plain_decision(random, obs.rows(slice(i, i + 1))) for i in range(3)] == cached_NK.tolist()
    scored = random.log_prob(obs, cached_NK)
    assert torch.isfinite(scored.logp_NK).all() and (scored.entropy_NK > 1).all()


def test_the_report_has_every_row_and_its_file_the_same_numbers(
    tmp_path: Path, quick: None, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "bench.json"
    options = [
        "--size",
        "tiny",
        "--batch-sizes",
        "1",
        "2",
        "--device",
        "cpu",
        "--num-decisions",
        "2",
        "--out",
        str(out),
    ]
    assert main(["bench", *options]) == 0
    report, found = capsys.readouterr().out, json.loads(out.read_text())
    rows = {row["what"]: row for row in found["measurements"]}
    assert len(rows) == len(found["measurements"]) and all(what in report for what in rows)
    expected = {"memory bandwidth, measured on a copy", "matrix product, measured"}
    expected |= {"memory bandwidth, data sheet", "matrix product, data sheet"}
    expected |= {"plain loop, batch 1: a decision", "plain loop, batch 1: actions per second"}
    expected |= {"greedy tokens equal to the plain loop's"}
    whole: tuple[str, ...] = (
        "a decision of all rows",
        "actions per second",
        "against the plain loop",
        "share of the roofline",
    )
    whole += ("drawn against scored, largest |ratio - 1|",)
    expected |= {f"batch {size}: {what}" for size in (1, 2) for what in (*PHASES, *whole)}
    variants = (
        "full update",
        "full update, gradient checkpointing",
        "LoRA update, rank 32, gradient checkpointing",
    )
    expected |= {f"{variant}: {what}" for variant in variants for what in UPDATE_ROWS}
    assert expected == {what for what in rows if "OpenVLA-7B" not in what}
    for what, row in rows.items():
        if "data sheet" in what or "OpenVLA-7B" in what:
            assert row["value"] is None and row["why"]
        else:
            assert math.isfinite(row["value"]) and not row["goal"]
            assert (0 <= row["value"] < 1e-4) if "|ratio - 1|" in what else row["value"] > 0
    assert {"OpenVLA-7B, batch 2: share of the roofline", "OpenVLA-7B, full update: peak memory"} <= rows.keys()
    assert found["model"] == "tiny" and found["dtype"] == "float32" and "not the numbers of OpenVLA-7B" in report
    assert rows["greedy tokens equal to the plain loop's"]["value"] == 100.0
    step_s = rows["full update: a step of 2 decisions"]["value"] / 1e3
    # 16 patches, a prompt of 34 tokens and six action tokens a decision.
    assert rows["full update: tokens per second"]["value"] == pytest.approx(2 * 56 / step_s)
    floors = [rows[f"batch 2: {phase}"]["floor"] for phase in PHASES]
    assert rows["batch 2: a decision of all rows"]["floor"] == pytest.approx(sum(floors))


def test_a_checkpoint_is_measured_by_its_own_sizes(tmp_path: Path, quick: None) -> None:
    write_checkpoint(tmp_path / "published")
    report = run.run_bench(
        BenchOptions(tmp_path / "published", None, (1,), device="cpu", num_decisions=1, microbatch_size=1)
    )
    assert report.startswith("model published, parameters") and "OpenVLA-7B" not in report


def test_mistakes_are_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'tiny'"):
        get_size("tinny")
    assert main(["bench", "--size", "70b", "--device", "cpu"]) == 2
    assert "Did you mean '7b'" in capsys.readouterr().err
    assert main(["bench", "--size", "tiny", "--batch-sizes", "0"]) == 2
    assert "give 1 or more" in capsys.readouterr().err
    if not torch.cuda.is_available():
        assert main(["bench", "--device", "cuda"]) == 2
        assert "use auto or cpu" in capsys.readouterr().err
    monkeypatch.setattr(subject, "free_memory", lambda device: 16.0)
    # 7,541,237,184 parameters of two bytes are 14.05 GiB; 320 places of half a MiB are 0.16 GiB a row.
    refuse_too_large("7b", get_size("7b").architecture, 12, CPU, torch.bfloat16)
    with pytest.raises(
        ConfigError, match=r"needs 19\.0 GiB on cpu \(14\.0 of weights, 5\.0 of .* 32 rows\), but 16\.0"
    ):
        refuse_too_large("7b", get_size("7b").architecture, 32, CPU, torch.bfloat16)


def test_an_update_that_does_not_fit_is_a_row_that_says_so(quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.trainer.updates.free_memory", lambda device: 0.001)
    report = run.run_bench(BenchOptions(None, "tiny", (1,), device="cpu", num_decisions=1))
    assert "full update: tokens per second" in report and "needs more than 0 GiB" in report


@pytest.mark.parametrize("radius", [0.01, 0.75], ids=["nothing earned", "something earned"])
def test_an_iteration_is_split_and_always_has_an_update(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, radius: float
) -> None:
    monkeypatch.setattr("benchmarks.trainer.iteration.make_envs", make_toy_envs)
    monkeypatch.setattr("tests.helpers.toy_env.NEAR_RADIUS", radius)
    policy = tiny_openvla(tmp_path, image_size=16)
    before = [parameter.clone() for parameter in policy.parameters()]
    rows = iteration_rows(policy, iteration_config(policy, "primitive", 6), microbatch_size=8)
    named = {row.what.removeprefix("iteration of 8 episodes: "): row.value for row in rows}
    values = {name: value for name, value in named.items() if value is not None}
    assert list(values) == ["decisions", "environment", "policy", "update", "whole"] and values["decisions"] == 8 * 6
    assert values["environment"] + values["policy"] + values["update"] <= values["whole"]
    assert not all(torch.equal(old, new) for old, new in zip(before, policy.parameters(), strict=True))
    assert [row.what for row in rows if row.why] == ["iteration of 8 episodes: update"] * (radius == 0.01)


@pytest.mark.slow
def test_a_whole_iteration_needs_a_scene_in_the_cache_and_no_libero(tmp_path: Path) -> None:
    """The scene's folder is copied into an empty cache, and a process that cannot import LIBERO plays in it."""
    from tgrpo_envs.scene import load_scene
    from tgrpo_envs.tasks import get_task

    scene = load_scene(get_task("libero_object", 0), "primitive")
    copied = tmp_path / "scenes" / "libero_object" / scene.folder.name
    shutil.copytree(scene.folder, copied)
    out = tmp_path / "bench.json"
    arguments = ["bench", "--size", "tiny", "--batch-sizes", "1", "--num-decisions", "1", "--device", "cpu"]
    arguments += ["--parts", "iteration", "--assets", "primitive", "--out", str(out)]
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['libero', 'robosuite', 'bddl']))\n"
        f"from tgrpo_trainer.__main__ import BenchOptions, main; sys.exit(main({arguments!r}))"
    )
    environment = {**os.environ, "TGRPO_CACHE": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, timeout=600)
    rows = {row["what"]: row["value"] for row in json.loads(out.read_text())["measurements"]}
    parts = [rows[f"iteration of 8 episodes: {part}"] for part in ("environment", "policy", "update")]
    assert all(seconds > 0 for seconds in parts) and sum(parts) <= rows["iteration of 8 episodes: whole"]
    assert [path.name for path in Path(tmp_path / "scenes" / "libero_object").iterdir()] == [copied.name]


def test_what_a_gradient_budget_saves_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    budget.main(num_groups=1, num_members=2, repeats=1)
    # 32 decisions of one group, in one minibatch: four passes each.
    rows = [line.rpartition(",")[0] for line in capsys.readouterr().out.splitlines()]
    assert rows == [
        "budget 1.00: 32 decisions, 4 steps",
        "budget 0.50: 16 decisions, 4 steps",
        "budget 0.25: 8 decisions, 4 steps",
    ]
