"""The specs that come with the package: 130 from the compiler, 130 from a language model, each with its papers."""

from __future__ import annotations

import json
from pathlib import Path

import gymnasium as gym
import pytest

from tgrpo_envs.bddl import parse_problem, read_problem
from tgrpo_envs.errors import SpecError, UnknownNameError
from tgrpo_envs.reward_tools.author.reply import extract_document
from tgrpo_envs.reward_tools.lint import lint_score, lint_spec
from tgrpo_envs.rewards import StageSpec, choose_spec, parse_spec, save_spec, spec_from_goal, spec_id
from tgrpo_envs.rewards.resolve import NAMES
from tgrpo_envs.rewards.shipped import (
    PRODUCERS,
    Producer,
    certificate_path,
    default_producer,
    has_passed,
    provenance_path,
    shipped_spec,
    spec_path,
)
from tgrpo_envs.shared_settings import REWARDS
from tgrpo_envs.tasks import Task, bddl_path, get_task, list_tasks, task_from_text

TASKS = list_tasks()


@pytest.mark.parametrize("producer", PRODUCERS)
def test_every_task_has_a_spec_without_lint_errors(producer: Producer) -> None:
    for task in TASKS:
        findings = lint_spec(shipped_spec(task, producer), read_problem(bddl_path(task)), task)
        assert not any(finding.is_error for finding in findings), (task.name, findings)
        assert lint_score(findings) == 100, (task.name, findings)


def test_a_language_model_s_spec_is_what_its_kept_reply_says() -> None:
    for task in TASKS:
        record = json.loads(provenance_path(task).read_text(encoding="utf-8"))
        spec = shipped_spec(task, "llm")
        assert record["spec_id"] == spec_id(spec)
        assert record["channel"] == "manual" and record["model"]
        reply = json.dumps(extract_document(record["replies"][-1]["text"]))
        assert spec_id(parse_spec(reply)) == spec_id(spec), task.name


def test_a_language_model_s_specs_are_no_copies_of_the_template() -> None:
    same = [task.name for task in TASKS if _shape(shipped_spec(task, "llm")) == _shape(shipped_spec(task, "compiled"))]
    assert same == []


def _shape(spec: StageSpec) -> list[tuple[object, ...]]:
    return [(stage.effort, stage.ramp, stage.done, stage.hold_steps) for stage in spec.stages]


def test_files_in_the_folder_belong_to_tasks() -> None:
    known = {path for task in TASKS for producer in PRODUCERS for path in _papers(task, producer)}
    assert set(spec_path(TASKS[0], "llm").parents[1].rglob("*.json")) <= known


def _papers(task: Task, producer: Producer) -> list[Path]:
    path = spec_path(task, producer)
    return [path, *(path.with_name(f"{path.stem}.{kind}.json") for kind in ("provenance", "certificate"))]


def test_stages_are_the_language_model_s_where_its_spec_passed() -> None:
    for task in TASKS:
        certificate = json.loads(_papers(task, "llm")[2].read_text(encoding="utf-8"))
        passed = (certificate["verdict"], certificate["spec_id"]) == ("passed", spec_id(shipped_spec(task, "llm")))
        assert default_producer(task) == ("llm" if passed else "compiled")
        expected = shipped_spec(task, default_producer(task))
        assert choose_spec("stages", read_problem(bddl_path(task)), task) == expected


@pytest.mark.parametrize("producer", PRODUCERS)
def test_each_certificate_is_of_the_spec_beside_it(producer: Producer) -> None:
    for task in TASKS:
        certificate = json.loads(_papers(task, producer)[2].read_text(encoding="utf-8"))
        assert certificate["spec_id"] == spec_id(shipped_spec(task, producer)), task.name


def test_each_language_model_s_spec_comes_with_what_it_does_beyond_the_template() -> None:
    for task in TASKS:
        reply = json.loads(provenance_path(task).read_text(encoding="utf-8"))["replies"][-1]["text"]
        said = reply.rpartition("Beyond the goal's template: ")[2].strip()
        assert said != reply.strip() and len(said) > 60, task.name


def test_the_certificate_of_a_spec_that_was_replaced_no_longer_counts(tmp_path: Path) -> None:
    task = TASKS[0]
    path = spec_path(task, "llm", tmp_path)
    path.parent.mkdir()
    assert default_producer(task, tmp_path) == "compiled"
    save_spec(shipped_spec(task, "llm"), path)
    assert default_producer(task, tmp_path) == "compiled"  # nobody has certified it
    for verdict, producer in (("failed", "compiled"), ("static-only", "compiled"), ("passed", "llm")):
        papers = {"verdict": verdict, "spec_id": spec_id(shipped_spec(task, "llm"))}
        certificate_path(task, "llm", tmp_path).write_text(json.dumps(papers), encoding="utf-8")
        assert default_producer(task, tmp_path) == producer
    save_spec(shipped_spec(task, "compiled"), path)
    assert default_producer(task, tmp_path) == "compiled"


def test_the_certificate_of_a_task_file_that_was_changed_no_longer_counts(tmp_path: Path) -> None:
    text = bddl_path(get_task("libero_object", 0)).read_text(encoding="utf-8")
    task = task_from_text("mine", text)
    another_goal = task_from_text("mine", text.replace("(In alphabet_soup_1", "(In milk_1"))
    a_remark = task_from_text("mine", f"; of mine\n{text}")
    assert another_goal.goal != task.goal
    spec, papers = spec_from_goal(parse_problem(text), task), certificate_path(task, "compiled", tmp_path)
    save_spec(spec, spec_path(task, "compiled", tmp_path))
    passed = {"verdict": "passed", "spec_id": spec_id(spec)}
    papers.write_text(json.dumps(passed), encoding="utf-8")  # as versions up to 0.12.0 wrote it
    assert all(has_passed(each, "compiled", tmp_path) for each in (task, another_goal, a_remark))
    papers.write_text(json.dumps(passed | {"bddl_digest": task.bddl_digest}), encoding="utf-8")
    assert [has_passed(each, "compiled", tmp_path) for each in (task, another_goal, a_remark)] == [True, False, True]


def test_each_reward_is_what_its_name_says() -> None:
    task = get_task("libero_goal", 3)
    problem = read_problem(bddl_path(task))
    assert choose_spec("llm", problem, task) == shipped_spec(task, "llm")
    assert choose_spec("compiled", problem, task) == spec_from_goal(problem, task)
    with pytest.raises(SpecError, match=r"none\.json: No such file"):
        choose_spec("none.json", problem, task)
    for name, hint in (("compild", "Did you mean 'compiled'"), ("none", "'stages', 'llm', 'compiled', 'sparse'")):
        with pytest.raises(UnknownNameError, match=f"reward .* {name!r}. .*{hint}"):
            choose_spec(name, problem, task)
    assert NAMES == REWARDS  # those that an environment's settings take


def test_a_spec_file_pays_for_its_own_task_alone() -> None:
    task, other = get_task("libero_goal", 3), get_task("libero_goal", 4)
    problem, path = read_problem(bddl_path(task)), spec_path(task, "compiled")
    assert choose_spec(path, problem, task) == choose_spec(str(path), problem, task) == shipped_spec(task, "compiled")
    with pytest.raises(
        SpecError, match=rf"is for libero_goal/{task.name}, .* of libero_goal/{other.name}; give a spec"
    ):
        choose_spec(path, read_problem(bddl_path(other)), other)


def test_an_environment_tracks_the_stages_it_was_asked_for() -> None:
    env = gym.make("tgrpo_envs:TGRPO-LiberoObject-v0", assets="primitive", cameras=(), reward="llm")
    env.reset(seed=0)
    info = env.step(env.action_space.sample())[4]
    env.close()
    assert len(info["stages"]) == len(shipped_spec(get_task("libero_object", 0), "llm").stages)
