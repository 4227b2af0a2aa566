"""A study end to end on the toy task: interrupted in the middle, gone on with, and its results."""

from __future__ import annotations

import fcntl
import json
import signal
from pathlib import Path

import pytest

from tests.helpers.processes import descendants, started, wait_until
from tests.helpers.runs import latest
from tests.helpers.synthetic_run import make_evaluation
from tests.helpers.toy_study import PROGRAM, WAITING_RUN, toy_study
from tgrpo_envs.errors import ConfigError, TrainingError
from tgrpo_envs.files import write_atomically
from tgrpo_envs.intervals import wilson_interval
from tgrpo_trainer.evaluation.result import save_evaluations
from tgrpo_trainer.metrics.metrics import read_metrics
from tgrpo_trainer.run.layout import CHECKPOINTS_NAME, CONFIG_NAME, EVALUATIONS_NAME, LAST_NAME, iteration_name
from tgrpo_trainer.studies.command import describe_study, do_study
from tgrpo_trainer.studies.grid import Method, StudyRun, with_settings
from tgrpo_trainer.studies.results import write_results
from tgrpo_trainer.studies.run import open_study, plan_jobs, run_jobs


def times(folder: Path) -> dict[Path, int]:
    """When each file was last written."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study that was ended by SIGTERM within its second run."""
    root = tmp_path_factory.mktemp("study")
    folder, log = root / "toy", root / "toy" / "logs" / "runs" / WAITING_RUN.with_suffix(".log")
    with started(*PROGRAM, "grid", str(folder), "1", folder=root, TOY_WAITS=str(root)) as process:
        wait_until((root / "waits").exists, process)
        process.send_signal(signal.SIGTERM)
        wait_until(lambda: "Will stop when this iteration is finished" in log.read_text(), process)
        (root / "go_on").touch()
        assert process.wait(300) == 143
        assert descendants(process.pid) == []
    assert "Interrupted; the same command goes on." in (root / "stderr").read_text()
    return folder


@pytest.mark.slow  # seven processes, each of which imports torch
def test_an_interrupted_study_keeps_what_is_done_and_goes_on(interrupted: Path) -> None:
    run, first = interrupted / "runs" / WAITING_RUN, interrupted / "runs" / "reach" / "tgrpo" / "seed_0"
    assert latest(run / "last").name == "iteration_000002"  # of three
    said = describe_study(toy_study(), interrupted, 2)
    assert "Runs: 4 (1 finished), from 2 clones (1 finished)" in said and "about 0 minutes with 2 side by side" in said
    assert json.loads((interrupted / "results.json").read_text())["outcomes"][0]["method"] == "tgrpo"

    before = times(first) | times(interrupted / "clones" / "reach" / "seed_0")
    text = do_study(toy_study(), interrupted, 2, program=PROGRAM)
    assert times(first) | times(interrupted / "clones" / "reach" / "seed_0") == before
    assert [row["iteration"] for row in read_metrics(run) if "rollout/return" in row] == [1, 2, 3]
    assert "6 of 6 clones and runs are finished" in text

    raw = json.loads((interrupted / "results.json").read_text())
    assert raw["unfinished"] == []
    curves = {(one["method"], one["seed"]): one["curves"]["heldout_greedy"] for one in raw["outcomes"]}
    assert sorted(curves) == [("grpo", 0), ("grpo", 1), ("tgrpo", 0), ("tgrpo", 1)]
    assert all(list(curve) == ["0", "2", "3"] for curve in curves.values())
    for seed in (0, 1):  # one clone, so the same episodes
        place = f"seed_{seed}/evaluations/iteration_000000.json"
        one, other = (json.loads((run.parents[1] / name / place).read_text()) for name in ("tgrpo", "grpo"))
        assert [part["episodes"] for part in one] == [part["episodes"] for part in other]
    (row,) = raw["differences"]["heldout_greedy"]
    rates = {key: list(curve.values())[-1] for key, curve in curves.items()}
    assert row["by_seed"] == pytest.approx([rates["tgrpo", seed] - rates["grpo", seed] for seed in (0, 1)])

    page, markdown = (interrupted / "study.html").read_text(), (interrupted / "results.md").read_text()
    assert "Learning curves" in page and "Paired differences" in page and "Unfinished" not in page
    assert "| reach | tgrpo - grpo | 2 |" in markdown
    assert text.startswith((interrupted / "results.txt").read_text())

    done = times(interrupted / "runs")
    assert "6 of 6" in do_study(toy_study(), interrupted, 1, program=PROGRAM) and times(interrupted / "runs") == done


def test_results_are_of_finished_runs_only(tmp_path: Path) -> None:
    """Six held-out episodes a run: TGRPO has 5 and 3 successes, GRPO 2 with seed 0 and has not ended with seed 1."""
    study, jobs = toy_study(), plan_jobs(toy_study(), tmp_path)
    counts = {("tgrpo", 0): 5, ("tgrpo", 1): 3, ("grpo", 0): 2, ("grpo", 1): 6}
    for (method, seed), k in counts.items():
        config = study.config(StudyRun("reach", method, seed), tmp_path)
        config.save(config.run.path / CONFIG_NAME)
        last = 2 if (method, seed) == ("grpo", 1) else 3
        for iteration, successes in ((0, 1), (last, k)):
            kinds = [make_evaluation(iteration, "heldout", mode, successes, 6) for mode in ("greedy", "sampled")]
            own = [one.model_copy(update={"env": config.env}) for one in kinds]
            save_evaluations(config.run.path / EVALUATIONS_NAME / f"{iteration_name(iteration)}.json", own)
    text = write_results(study, tmp_path, jobs)
    assert "3 of 6 clones and runs are finished" in text  # no clone is there
    rows = [line.split() for line in text.splitlines() if line.startswith("reach")]
    #                  task     method   seeds start  end    of each seed   over seeds
    assert rows[0] == ["reach", "tgrpo", "2", "17", "66.7", "83", "50", "[-145,", "278]", "8/12", "[39,", "86]"]
    assert rows[1] == ["reach", "grpo", "1", "17", "33.3", "33", "2/6", "[10,", "70]"]
    assert rows[2] == ["reach", "tgrpo", "-", "grpo", "1", "1/1", "+50.0"]  # one pair has no interval
    raw = json.loads((tmp_path / "results.json").read_text())
    assert "reach, grpo, seed 1" in raw["unfinished"]
    assert raw["success"]["heldout_greedy"][0]["over_episodes"] == list(wilson_interval(8, 12))
    page = (tmp_path / "study.html").read_text()
    assert "Learning curves" in page and "reach, grpo, seed 1" in page


def test_a_folder_of_other_settings_is_refused(tmp_path: Path) -> None:
    open_study(toy_study(), tmp_path)
    open_study(toy_study(), tmp_path)
    other = toy_study().model_copy(update={"base": with_settings(toy_study().base, {"run": {"iterations": 9}})})
    with pytest.raises(ConfigError, match="with other settings; give another place with --folder"):
        open_study(other, tmp_path)
    with pytest.raises(ConfigError, match="--jobs is 0"):
        do_study(toy_study(), tmp_path, 0)


def test_a_run_has_one_writer(tmp_path: Path) -> None:
    jobs = plan_jobs(toy_study(), tmp_path)
    jobs[0].log.parent.mkdir(parents=True)
    with jobs[0].log.open("ab") as log:
        fcntl.flock(log, fcntl.LOCK_EX)
        with pytest.raises(ConfigError, match="Another process still works on"):
            run_jobs(jobs, 1, lambda _: None)
    assert not jobs[0].folder.exists()


def test_what_is_known_of_the_clone_is_not_played_again(tmp_path: Path) -> None:
    """The clone's own run has ended; the other's folder gets its evaluation and that checkpoint before it starts."""
    study = toy_study()
    alone = Method(name="clone", overrides={"run": {"iterations": 0}})
    study = study.model_copy(update={"methods": (alone, *study.methods), "seeds": (0,)})
    clone, known, run, _ = plan_jobs(study, tmp_path)
    for folder in (clone.folder / LAST_NAME, known.folder / CHECKPOINTS_NAME):
        (folder / iteration_name(0)).mkdir(parents=True)
    name = Path(EVALUATIONS_NAME, f"{iteration_name(0)}.json")
    write_atomically(known.folder / name, "[1]")
    assert known.is_finished
    assert run_jobs([run], 1, lambda _: None, program=("-c", "raise SystemExit('not now')")) == (run,)
    assert (run.folder / name).read_text() == "[1]"
    assert latest(run.folder / CHECKPOINTS_NAME).name == iteration_name(0)


def test_a_failure_stops_only_what_starts_from_it(tmp_path: Path) -> None:
    """Without a program nothing can be cloned: both clones fail, no run is tried, and the logs are named."""
    with pytest.raises(TrainingError, match=r"2 of 6 clones and runs failed: clone of reach, seed 0 \(.*seed_0.log\)"):
        do_study(toy_study(), tmp_path, 2, program=("-c", "raise SystemExit('no disk')"))
    assert "no disk" in plan_jobs(toy_study(), tmp_path)[0].log.read_text()
    assert not (tmp_path / "runs").exists()
    assert "0 of 6 clones and runs are finished" in (tmp_path / "results.md").read_text()
    assert "No run has finished yet" in (tmp_path / "study.html").read_text()
