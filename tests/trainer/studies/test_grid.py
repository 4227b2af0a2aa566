"""The grid of a study: its runs in order, their settings, shared clones, and grids that cannot be compared."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.toy_study import toy_study
from tgrpo_envs.errors import ConfigError, UnknownNameError
from tgrpo_trainer.__main__ import main
from tgrpo_trainer.recipes import quickstart
from tgrpo_trainer.studies.catalogue import STUDIES, get_study, suite
from tgrpo_trainer.studies.grid import Method, Study, StudyRun, StudyTask, with_settings
from tgrpo_trainer.studies.run import plan_jobs

FOLDER = Path("studies/any")


def test_runs_come_seed_by_seed_and_methods_share_the_clone() -> None:
    jobs = plan_jobs(toy_study(), Path("toy"))
    assert [str(job.folder) for job in jobs] == [
        "toy/clones/reach/seed_0",
        "toy/runs/reach/tgrpo/seed_0",
        "toy/runs/reach/grpo/seed_0",
        "toy/clones/reach/seed_1",
        "toy/runs/reach/tgrpo/seed_1",
        "toy/runs/reach/grpo/seed_1",
    ]
    assert [job.config.run.seed for job in jobs] == [0, 0, 0, 1, 1, 1]
    assert [job.config.objective.kind for job in jobs[:3]] == ["tgrpo", "tgrpo", "grpo"]
    assert jobs[2].clone == jobs[0].folder and jobs[2].log == Path("toy/logs/runs/reach/grpo/seed_0.log")


def test_a_joint_method_has_one_run_a_seed_and_a_clone_of_all_tasks() -> None:
    study = suite()
    runs = study.runs()
    assert len(runs) == 5 * (10 + 1)
    joint = StudyRun("all", "one_policy", 0)
    assert runs[10] == joint
    config, clone = study.config(joint, FOLDER), study.clone_config(joint, FOLDER)
    assert config.env.tasks == clone.env.tasks == tuple(range(10)) and clone.sft.max_steps == 3000
    assert clone.run.path == FOLDER / "clones/all/one_policy/seed_0"
    alone = study.config(runs[3], FOLDER)
    assert alone.env.tasks == (3,)
    # Equal episodes: ten policies' and the one policy's.
    assert 10 * alone.run.iterations * alone.rollout.num_envs == config.run.iterations * config.rollout.num_envs


@pytest.mark.parametrize("name", STUDIES)
def test_studies_are_whole_and_stop_by_iterations(name: str) -> None:
    study = get_study(name)
    assert study.name == name and len(study.seeds) >= 5 and study.comparisons
    configs = [study.config(run, FOLDER) for run in study.runs() if run.seed == 0]
    assert all(config.run.max_minutes is None for config in configs)
    if name not in ("suite", "methods"):
        assert len({config.run.iterations * config.rollout.num_envs for config in configs}) == 1  # equal episodes


def test_the_methods_differ_in_what_their_names_say() -> None:
    study = get_study("methods")
    configs = {run.method: study.config(run, FOLDER) for run in study.runs() if run.task == "object_4"}
    assert configs["clone"].run.iterations == 0
    assert configs["grpo_sparse"].env.reward == "sparse" and configs["grpo_stages"].env.reward == "compiled"
    assert configs["step_only"].objective.model_dump()["alpha_trajectory"] == 0
    by_stage = configs["tgrpo_by_stage"].objective.model_dump()
    assert by_stage["anchor"] == "stage" and by_stage["trajectory_weight"] == pytest.approx(0.7 / 0.3)
    assert {config.objective.model_dump()["std_floor"] for config in configs.values()} == {0.1}


def test_a_clone_is_evaluated_once_for_all_methods_that_would_evaluate_it_alike() -> None:
    study = get_study("methods")
    alone = {run.method: study.clone_alone(run) for run in study.runs() if (run.task, run.seed) == ("goal_0", 2)}
    clone = StudyRun("goal_0", "clone", 2)
    assert alone == dict.fromkeys(alone, clone) | {"clone": None, "grpo_sparse": None}
    assert not any(get_study("rewards").clone_alone(run) for run in get_study("rewards").runs())


def test_some_methods_can_be_done_first() -> None:
    jobs = plan_jobs(get_study("methods"), FOLDER, ("tgrpo", "clone"))
    assert [str(job.folder.relative_to(FOLDER)) for job in jobs[:4]] == [
        "clones/object_4/seed_0",
        "runs/object_4/clone/seed_0",
        "runs/object_4/tgrpo/seed_0",
        "clones/spatial_1/seed_0",
    ]
    assert len(jobs) == 5 * 4 * 3
    assert jobs[2].evaluated == jobs[1].folder
    with pytest.raises(UnknownNameError, match="Unknown method 'sac'"):
        plan_jobs(get_study("methods"), FOLDER, ("sac",))


def test_some_tasks_can_be_done_first() -> None:
    jobs = plan_jobs(get_study("methods"), FOLDER, ("tgrpo", "clone"), ("goal_0",))
    assert [str(job.folder.relative_to(FOLDER)) for job in jobs[:3]] == [
        "clones/goal_0/seed_0",
        "runs/goal_0/clone/seed_0",
        "runs/goal_0/tgrpo/seed_0",
    ]
    assert len(jobs) == 5 * 3
    joint = plan_jobs(get_study("suite"), FOLDER, tasks=("all",))
    assert {job.folder.parent.parent.name for job in joint if job.clone} == {"all"}
    with pytest.raises(UnknownNameError, match=r"Unknown task 'goal_1'\. Did you mean 'goal_0'"):
        plan_jobs(get_study("methods"), FOLDER, tasks=("goal_1",))


def test_settings_are_replaced_one_by_one() -> None:
    changed = with_settings(quickstart(), {"objective": {"kind": "tgrpo", "alpha_step": 1.0}, "env": {"tasks": (7,)}})
    assert changed.objective.model_dump() == {
        **changed.objective.model_dump(),
        "alpha_step": 1.0,
        "beta": quickstart().objective.beta,
        "std_floor": 0.1,
    }
    assert changed.env == quickstart().env.model_copy(update={"tasks": (7,)})
    with pytest.raises(ConfigError, match="'environment' is no group"):
        with_settings(quickstart(), {"environment": {}})
    with pytest.raises(ConfigError, match=r"num_groups=0 must be greater than or equal to 1"):
        with_settings(quickstart(), {"rollout": {"num_groups": 0}})


def test_grids_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(ValueError, match=r"changes sft, env\.tasks, but the methods of a seed share one clone"):
        Method(name="more", overrides={"sft": {"num_demos": 20}, "env": {"tasks": (1,)}})
    parts = toy_study().model_dump() | {"base": toy_study().base}
    for change, said in (
        ({"seeds": (0, 0)}, "names seeds twice"),
        ({"comparisons": (("tgrpo", "ppo"),)}, "compares .'ppo'."),
        ({"tasks": (StudyTask(name="all", overrides={}),)}, "stands for all tasks"),
    ):
        with pytest.raises(ValueError, match=said):
            Study.model_validate({**parts, **change})


def test_the_command_names_studies_and_their_grid(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "method", "--folder", str(tmp_path)]) == 2
    assert "Unknown study 'method'. Did you mean 'methods'" in capsys.readouterr().err
    with pytest.raises(UnknownNameError):
        get_study("sac")
    assert main(["study", "methods", "--dry", "--folder", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "Runs: 180 (0 finished), from 20 clones (0 finished)" in said
    assert "unknown for 20 x clone, 20 x 0 iterations of train, 140 x 16 iterations of train, 20 x 16" in said
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(SystemExit):
        main(["study", "--help"])
    assert "kl_and_temperature" in capsys.readouterr().out
