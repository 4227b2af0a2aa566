"""Certification of a LIBERO-Object task on real physics: a good spec passes, each kind of bad spec fails its check."""

from __future__ import annotations

import dataclasses
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tgrpo_envs.errors import ConfigError, StateError
from tgrpo_envs.reward_tools.certify import checks
from tgrpo_envs.reward_tools.certify.certificate import Certificate, make_certificate, unseen_draw
from tgrpo_envs.reward_tools.certify.checks import CheckResult, failed_checks, quick_check
from tgrpo_envs.reward_tools.certify.commands import certify, report
from tgrpo_envs.reward_tools.certify.evidence import Evidence, Kind, Purpose, Sizes, evidence_key, evidence_path
from tgrpo_envs.reward_tools.certify.record import initial_states, load_evidence
from tgrpo_envs.reward_tools.certify.scoring import NEVER, Judged
from tgrpo_envs.reward_tools.certify.wrong import wrong_goals
from tgrpo_envs.rewards import StageSpec, goals_spec, parse_spec, rescore, save_spec, spec_from_goal
from tgrpo_envs.rewards.shipped import certificate_path, shipped_spec, spec_path
from tgrpo_envs.scene import Scene, load_scene
from tgrpo_envs.sim.snapshot import SnapshotLayout
from tgrpo_envs.tasks import get_task

TASK = get_task("libero_object", 0)
SIZES = Sizes(expert=2, random=3, idle=1, wrong=1, wrong_goals=1, starts=4, teleports=1, aimless_steps=30)
TINY = Sizes(expert=1, random=1, idle=1, wrong=1, wrong_goals=1, starts=2, teleports=1, aimless_steps=5)
OTHER = "cream_cheese_1"


@pytest.fixture(scope="module")
def scene() -> Scene:
    return load_scene(TASK, "primitive")


@pytest.fixture(scope="module")
def evidence(scene: Scene) -> Evidence:
    return load_evidence(scene, sizes=SIZES)


@pytest.fixture(scope="module")
def spec(scene: Scene) -> StageSpec:
    return spec_from_goal(scene.problem, TASK)


def made_up_layout(objects: tuple[str, ...], site: str) -> SnapshotLayout:
    """Four movables and a fixture that carries the site."""
    return SnapshotLayout(
        objects=objects,
        num_movables=4,
        sites=(site,),
        site_half_sizes_S3=np.ones((1, 3)),
        site_parents_S=np.array([4]),
        joints=(),
        joint_objects_J=np.zeros(0, dtype=np.int64),
        joint_sites_J=np.zeros(0, dtype=np.int64),
    )


def changed(spec: StageSpec, change: Callable[[list[dict[str, Any]]], None]) -> StageSpec:
    """The spec with its JSON document changed in place."""
    document = json.loads(spec.model_dump_json(by_alias=True))
    change(document["stages"])
    return parse_spec(json.dumps(document))


def fails(check: Callable[[Judged], CheckResult], spec: StageSpec, evidence: Evidence) -> bool:
    """The check fails, and with it the spec."""
    return check(Judged(spec, evidence)).passed is False and not quick_check(spec, evidence)


def test_the_compiled_spec_passes_every_check(spec: StageSpec, evidence: Evidence) -> None:
    certificate = make_certificate(spec, "compiled", evidence)
    assert certificate.verdict == "passed" and quick_check(spec, evidence)
    assert {check.id for check in certificate.checks if check.passed is None} == set()
    assert certificate.metrics["auc"].value == 1.0 and set(certificate.stage_rates.values()) == {1.0}
    assert certificate.episodes["expert"] == (2, 2) and certificate.episodes["teleport"] == (1, 1)


def test_a_stage_that_holds_at_reset_fails(spec: StageSpec, evidence: Evidence) -> None:
    def start_done(stages: list[dict[str, Any]]) -> None:
        stages[0]["done"] = {"op": "still", "a": "basket_1", "below_mps": 0.2}

    assert fails(checks.starts_with_nothing_done, changed(spec, start_done), evidence)


def test_progress_of_idle_and_random_episodes_fails(spec: StageSpec, evidence: Evidence) -> None:
    # No spec pays for a scene that stands still, so the evidence is spoilt instead: the expert's episodes as idle ones.
    spoilt: list[tuple[Kind, Callable[[Judged], CheckResult]]] = [
        ("idle", checks.idle_earns_nothing),
        ("random", checks.chance_earns_little),
    ]
    for kind, check in spoilt:
        kinds_N = tuple(kind if each == "wrong_object" else each for each in evidence.kinds_N)
        kinds_N = tuple(kind if each == "dropped" else each for each in kinds_N)
        assert check(Judged(spec, dataclasses.replace(evidence, kinds_N=kinds_N))).passed is False


def test_stages_in_reverse_order_fail(spec: StageSpec, evidence: Evidence) -> None:
    def reverse(stages: list[dict[str, Any]]) -> None:
        ids = [stage["id"] for stage in stages]
        for stage, after in zip(stages, [*ids[1:], None], strict=True):
            stage["after"] = [after] if after else []

    backwards = changed(spec, reverse)
    assert fails(checks.expert_fires_every_stage_in_order, backwards, evidence)
    judged = Judged(backwards, evidence)
    for firing in judged.firings:  # a stage completes no earlier than what it comes after
        assert all(firing.completed_K[i] <= firing.completed_K[j] for i, j in judged.edges)


def test_two_neighbouring_stages_exchanged_fail_by_their_order_alone(spec: StageSpec, evidence: Evidence) -> None:
    def exchange(stages: list[dict[str, Any]]) -> None:
        reach, grasp, lift, carry, _ = stages
        lift["after"], grasp["after"], carry["after"] = [reach["id"]], [lift["id"]], [grasp["id"]]

    exchanged = Judged(changed(spec, exchange), evidence)
    assert all(when < NEVER for firing in exchanged.firings for when in firing.completed_K)
    assert max(exchanged.orders) < 1.0


def test_another_object_than_the_goals_fails(spec: StageSpec, evidence: Evidence) -> None:
    other = parse_spec(spec.model_dump_json(by_alias=True).replace("alphabet_soup_1", OTHER))
    assert fails(checks.expert_fires_every_stage_in_order, other, evidence)
    assert fails(checks.other_goals_earn_less, other, evidence)
    assert {"D04", "D09"} <= {result.id for result in failed_checks(other, evidence)}


def test_a_threshold_that_nobody_reaches_fails(spec: StageSpec, evidence: Evidence) -> None:
    def too_high(stages: list[dict[str, Any]]) -> None:
        stages[2]["done"]["by_m"] = stages[2]["ramp"]["to_m"] = 0.30

    assert fails(checks.expert_fires_every_stage_in_order, changed(spec, too_high), evidence)


def test_a_ramp_of_another_object_or_one_that_may_not_pay_fails(spec: StageSpec, evidence: Evidence) -> None:
    def other_object(stages: list[dict[str, Any]]) -> None:
        stages[2]["ramp"]["a"] = OTHER

    def never_allowed(stages: list[dict[str, Any]]) -> None:
        stages[3]["while"] = [{"op": "released", "a": "alphabet_soup_1"}]

    for change in (other_object, never_allowed):
        assert fails(checks.ramps_rise, changed(spec, change), evidence)


def test_stages_that_forget_the_goal_fail(spec: StageSpec, evidence: Evidence) -> None:
    def forget(stages: list[dict[str, Any]]) -> None:
        del stages[3:]

    forgetful = changed(spec, forget)
    assert fails(checks.complete_exactly_at_success, forgetful, evidence)
    late = checks.complete_exactly_at_success(Judged(forgetful, evidence)).value
    assert late is not None and late > 20  # all the way to the basket


def test_where_an_honest_near_miss_earns_nothing_a_bad_policy_may_earn_nothing(
    spec: StageSpec, evidence: Evidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = json.loads(spec.model_dump_json(by_alias=True))
    document["maintain"] = [{"holds": {"op": "lifted", "a": "basket_1", "by_m": 0.3}, "cost_frac": 1.0}]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # numpy's, of a division by zero
        result = checks.bad_policies_earn_less(Judged(parse_spec(json.dumps(document)), evidence))
        assert (result.passed, result.value) == (True, 0.0)
        monkeypatch.setattr(Judged, "best_at_lift", lambda judged: np.zeros(2))
        result = checks.bad_policies_earn_less(Judged(spec, evidence))
        assert result.passed is False and result.value is not None and np.isfinite(result.value)


def test_goals_alone_rank_no_failures(evidence: Evidence) -> None:
    sparse = goals_spec(TASK)
    for check in (checks.successes_stand_out, checks.cut_demonstrations_rank, checks.progress_never_stalls):
        assert fails(check, sparse, evidence)


def test_a_spec_of_another_scene_is_refused_quietly(spec: StageSpec, evidence: Evidence) -> None:
    elsewhere = parse_spec(spec.model_dump_json(by_alias=True).replace("alphabet_soup_1", "akita_black_bowl_1"))
    assert not quick_check(elsewhere, evidence)


def test_side_by_side_scores_are_those_of_single_episodes(spec: StageSpec, evidence: Evidence) -> None:
    score = Judged(spec, evidence).score
    for row, steps in enumerate(evidence.steps_N):
        snapshots, goal_MC = evidence.episode(row)
        alone = rescore(spec, evidence.layout, snapshots, goal_MC, horizon=TASK.horizon)
        np.testing.assert_array_equal(alone.rewards_T, score.rewards_TN[:steps, row])
        np.testing.assert_array_equal(alone.stages_TK, score.stages_TNK[:steps, row])


def test_stages_fire_when_the_tracker_says_so_up_to_success(spec: StageSpec, evidence: Evidence) -> None:
    for row, firing in zip(evidence.solved, Judged(spec, evidence).firings, strict=True):
        snapshots, goal_MC = evidence.episode(int(row))
        assert rescore(spec, evidence.layout, snapshots, goal_MC, horizon=280).first_done() == list(firing.completed_K)


def test_backwards_runs_from_before_success_to_the_first_step(evidence: Evidence) -> None:
    row, back = int(evidence.solved[0]), evidence.backwards
    steps = int(evidence.steps_N[row])
    forth_pos = evidence.snapshots.gripper_pos_N3[: steps + 1, row]
    back_pos = back.snapshots.gripper_pos_N3[:steps, 0]
    np.testing.assert_array_equal(back_pos[0], forth_pos[0])
    np.testing.assert_array_equal(back_pos[1:], forth_pos[1:steps][::-1])
    assert back.steps_N[0] == steps - 1 and not back.success_N.any()


def test_without_an_expert_the_verdict_is_static_only(spec: StageSpec, evidence: Evidence) -> None:
    kinds: tuple[Kind, ...] = ("random", "idle", "teleport")
    certificate = make_certificate(spec, "compiled", evidence.pick(evidence.rows(*kinds)))
    assert certificate.verdict == "static-only"
    assert "D04" not in {check.id for check in certificate.checks}


def test_evidence_survives_its_file_and_a_damaged_one_is_named(evidence: Evidence, tmp_path: Path) -> None:
    path = tmp_path / "evidence.npz"
    evidence.save(path)
    again = Evidence.load(path)
    assert again.info == evidence.info and again.kinds_N == evidence.kinds_N
    np.testing.assert_array_equal(again.snapshots.object_pos_NO3, evidence.snapshots.object_pos_NO3)
    np.testing.assert_array_equal(again.goal_MNC, evidence.goal_MNC)
    with np.load(path) as file:
        arrays = dict(file)
    np.savez(path, **{**arrays, "goal_MNC": arrays["goal_MNC"][:, :-1]})
    with pytest.raises(StateError, match=r"goal_MNC.*delete it"):
        Evidence.load(path)
    np.savez(path, **{**arrays, "starts.touch_NO": arrays["starts.touch_NO"][:-1]})
    with pytest.raises(StateError, match=r"touch_NO.*delete it"):
        Evidence.load(path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(StateError, match=r"evidence.*delete it"):
        Evidence.load(path)


SOURCES: list[tuple[Purpose, int]] = [("certification", 0), ("certification", 1), ("selection", 0), ("selection", 1)]


def test_choosing_and_each_draw_of_certifying_use_other_states(scene: Scene) -> None:
    record = scene.record.model_dump_json()
    keys = {evidence_key(record, purpose, SIZES, draw) for purpose, draw in SOURCES}
    assert len(keys) == 4
    assert len({evidence_path("s", "t", key) for key in keys}) == 4
    sizes = Sizes(starts=50)
    drawn = [initial_states(scene, purpose, sizes, draw) for purpose, draw in SOURCES]
    states_NX = np.concatenate([init.states_NX for init, _ in drawn])
    assert len(np.unique(states_NX, axis=0)) == len(states_NX) == 4 * 50
    assert len({rng.integers(2**60) for _, rng in drawn}) == 4
    again, _ = initial_states(scene, "certification", sizes, 1)
    np.testing.assert_array_equal(again.states_NX, drawn[1][0].states_NX)
    with pytest.raises(ConfigError, match="draw"):
        load_evidence(scene, sizes=SIZES, draw=-1)


def test_a_spec_that_replaces_a_certified_one_is_certified_on_unseen_states(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tgrpo_envs.reward_tools.certify.record.Sizes", lambda: TINY)
    monkeypatch.setattr("tgrpo_envs.rewards.shipped.SPECS_FOLDER", tmp_path)
    path = certificate_path(TASK, "compiled", tmp_path)

    def draw() -> int:
        evidence = Certificate.load(path).evidence
        assert evidence.key == evidence_key(scene.record.model_dump_json(), evidence.purpose, TINY, evidence.draw)
        return evidence.draw

    assert "passed      selection 0" in certify("libero_object", 0, states="selection", out=tmp_path)
    assert not path.exists()  # what it shows is for who chooses and repairs
    certify("libero_object", 0, out=tmp_path)
    assert draw() == 0
    certify("libero_object", 0, out=tmp_path)
    assert draw() == 0  # the same spec
    document = json.loads(shipped_spec(TASK, "compiled").model_dump_json(by_alias=True))
    document["stages"][0]["effort"] = 2
    save_spec(parse_spec(json.dumps(document)), spec_path(TASK, "compiled", tmp_path))
    assert "certification 1" in certify("libero_object", 0, out=tmp_path)
    assert draw() == 1
    certify("libero_object", 0, out=tmp_path)
    assert draw() == 1


def test_a_spec_that_failed_is_not_tried_on_other_states_until_it_passes(spec: StageSpec, evidence: Evidence) -> None:
    failed = make_certificate(spec, "compiled", evidence).model_copy(update={"verdict": "failed"})
    assert unseen_draw(spec, failed) == unseen_draw(spec, failed, 0) == 0
    with pytest.raises(ConfigError, match=r"failed on draw 0.*repair it"):
        unseen_draw(spec, failed, 1)
    other = changed(spec, lambda stages: stages[0].update(effort=2))
    assert unseen_draw(other, failed) == 1 and unseen_draw(other, failed, 3) == 3
    assert unseen_draw(spec, failed.model_copy(update={"verdict": "passed"}), 2) == 2
    assert unseen_draw(spec, None) == 0


def test_wrong_goals_take_the_look_alike_first_and_never_the_goal_itself() -> None:
    objects = ("akita_black_bowl_1", "cookies_1", "akita_black_bowl_2", "plate_1", "flat_stove_1")
    layout = made_up_layout(objects, "flat_stove_1_cook_region")
    found = wrong_goals(get_task("libero_goal", "put_the_bowl_on_the_plate"), layout)
    goals = [wrong.goal[0] for wrong in found]
    assert goals[0] == ("on", "akita_black_bowl_2", "plate_1")
    assert goals[-1] == ("on", "cookies_1", "plate_1")
    kinds = {wrong.goal[0]: wrong.kind for wrong in found}
    assert kinds["on", "akita_black_bowl_1", "flat_stove_1_cook_region"] == "wrong_target"
    assert kinds["turnon", "flat_stove_1"] == "wrong_object"
    assert ("on", "akita_black_bowl_1", "plate_1") not in goals and all("wine" not in goal[1] for goal in goals)


def test_wrong_goals_share_no_conjunct_with_the_task() -> None:
    drawer = "wooden_cabinet_1_top_region"
    layout = made_up_layout(("akita_black_bowl_1", "butter_1", "butter_2", "plate_1", "wooden_cabinet_1"), drawer)
    shut = get_task("libero_90", "KITCHEN_SCENE10_close_the_top_drawer_of_the_cabinet")
    found = wrong_goals(shut, layout)
    assert (("in", "butter_1", drawer),) not in [wrong.goal for wrong in found]  # that task shuts the drawer as well
    assert found and all(("close", drawer) not in wrong.goal for wrong in found)


def test_the_commands_write_a_certificate_and_a_page(
    evidence: Evidence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tgrpo_envs.reward_tools.certify.record.Sizes", lambda: SIZES)
    text = certify("libero_object", 0, out=tmp_path)
    assert "passed" in text
    path = tmp_path / "libero_object" / f"{TASK.name}.compiled.certificate.json"
    certificate = Certificate.load(path)
    table = report(tmp_path / "page.html", specs=tmp_path)
    assert "libero_object  compiled  1      1" in table
    page = (tmp_path / "page.html").read_text()
    assert certificate.timeline is not None
    stages = certificate.timeline.stages
    assert page.count("<svg") == len(stages) + 1  # and the progress
    assert all(stage.id.replace("_", " ") in page for stage in stages)
    mine = tmp_path / "mine.json"
    save_spec(shipped_spec(TASK, "compiled"), mine)
    assert "passed" in certify(files=(mine,))
    assert Certificate.load(tmp_path / "mine.certificate.json").spec_id == certificate.spec_id
    with pytest.raises(ConfigError, match="their own task"):
        certify("libero_object", files=(mine,))
    path.write_text("{}")
    with pytest.raises(StateError, match="certify"):
        report(tmp_path / "page.html", specs=tmp_path)
    with pytest.raises(StateError, match="no certificates"):
        report(tmp_path / "page.html", suite="libero_90", specs=tmp_path)


@pytest.mark.parametrize(("share", "passed"), [(0.2, True), (0.9, False)])
def test_a_bad_policy_that_earns_more_than_an_honest_lift_fails(
    spec: StageSpec, evidence: Evidence, share: float, passed: bool
) -> None:
    """Cut demonstrations in place of shoves: at 20 % of them nothing is held, at 90 % it is over the basket."""
    twice = evidence.pick(np.concatenate([evidence.solved, evidence.solved]))
    count = len(evidence.solved)
    steps_N = np.concatenate([twice.steps_N[:count], (share * twice.steps_N[count:]).astype(np.int64)])
    kinds: tuple[Kind, ...] = ("expert", "shove")
    kinds_N = tuple(kind for kind in kinds for _ in range(count))
    judged = Judged(spec, dataclasses.replace(twice, kinds_N=kinds_N, steps_N=steps_N))
    result = checks.bad_policies_earn_less(judged)
    assert result.passed is passed and result.n == count
    can, earned = evidence.layout.object_row("alphabet_soup_1"), []
    for row in range(count):
        height_M = judged.evidence.snapshots.object_pos_NO3[:, row, can, 2]
        step = next(m for m, height in enumerate(height_M) if height >= height_M[0] + 0.02)
        earned.append(judged.score.best_after(row, step))
    cut = max(judged.score.best(row) for row in range(count, 2 * count))
    assert result.value == pytest.approx(cut / np.mean(earned))


def test_where_the_task_asks_for_a_push_pushing_is_not_bad(evidence: Evidence) -> None:
    info = evidence.info.model_copy(update={"task": "push_the_plate_to_the_front_of_the_stove"})
    assert set(checks.bad_kinds(evidence)) - set(checks.bad_kinds(dataclasses.replace(evidence, info=info))) == {
        "shove", "rub", "drag", "fling",
    }  # fmt: skip
