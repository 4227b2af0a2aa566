"""Specs in plain English: every word of the vocabulary has a phrase, and stages read as sentences."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from tests.helpers.fuzz_cases import random_word
from tests.helpers.reward_cases import CAN, make_spec, specs
from tgrpo_envs.rewards import StageSpec
from tgrpo_envs.rewards.describe import condition_words, entity, maintain_sentence, ramp_words, sentence, title
from tgrpo_envs.rewards.predicates import PREDICATES
from tgrpo_envs.rewards.ramps import RAMPS
from tgrpo_envs.rewards.shipped import shipped_spec
from tgrpo_envs.rewards.spec import Stage, conditions
from tgrpo_envs.tasks import list_tasks


def stage_of(**fields: object) -> Stage:
    first = {"id": "first", "effort": 1, "done": {"op": "touching", "a": CAN}}
    return make_spec([first, {"id": "second", "effort": 2, **fields}]).stages[1]


@pytest.mark.parametrize("op", PREDICATES)
def test_every_predicate_has_words_and_their_opposite(op: str) -> None:
    predicate = PREDICATES[op].model_validate(random_word(np.random.default_rng(0), PREDICATES[op]))
    held, broken = condition_words(predicate), condition_words(predicate, negated=True)
    assert held != broken
    assert "{" not in held + broken and "None" not in held + broken


@pytest.mark.parametrize("op", RAMPS)
def test_every_ramp_has_words(op: str) -> None:
    ramp = RAMPS[op].model_validate(random_word(np.random.default_rng(0), RAMPS[op]))
    assert "{" not in ramp_words(ramp)


@settings(max_examples=60, deadline=None)
@given(specs())
def test_every_spec_can_be_said(spec: StageSpec) -> None:
    for stage in spec.stages:
        assert sentence(stage).endswith(".")
    for rule in spec.maintain:
        assert maintain_sentence(rule).endswith("does not count.")
    for _, condition in conditions(spec):
        assert condition_words(condition, negated=True) != condition_words(condition)


def test_a_stage_reads_as_a_sentence() -> None:
    stage = stage_of(
        after=["first"],
        done={"any": [{"op": "near", "a": "gripper", "b": CAN, "within_m": 0.05}, {"op": "touching", "a": CAN}]},
        ramp={"op": "approach", "a": "gripper", "b": CAN, "to_m": 0.05},
        hold_steps=3,
        latch="live",
        **{"while": [{"not": {"op": "lifted", "a": CAN, "by_m": 0.125}}]},
    )
    assert sentence(stage) == (
        "After First: done when the gripper is within 5 cm of can 1, or the gripper touches can 1, for 3 control steps "
        "in a row (0.15 s); the credit lasts only while that holds. Until then it earns partial credit that grows as "
        "the gripper nears can 1, from its distance at the start to 5 cm, while can 1 is less than 12.5 cm above its "
        "start height."
    )


def test_every_compiled_stage_can_be_said() -> None:
    tasks = list_tasks()
    said = [sentence(stage, task.goal) for task in tasks for stage in shipped_spec(task, "compiled").stages]
    assert len(tasks) == 130 and len(said) >= 130
    assert not [text for text in said if "{" in text or "None" in text or "_" in text]


def test_goals_are_named_where_the_task_is_known() -> None:
    stage = stage_of(done={"op": "goal", "index": 1})
    goal = [("turnon", "flat_stove_1"), ("in", CAN, "basket_1_contain_region")]
    assert sentence(stage, goal).endswith("LIBERO counts can 1 as in the contain region of basket 1.")
    assert sentence(stage).endswith("LIBERO counts goal condition 1 as met.")


def test_negation_reaches_through_connectives() -> None:
    touch, held = {"op": "touching", "a": CAN}, {"op": "grasped", "a": CAN}
    stage = stage_of(done={"not": {"all": [touch, held]}})
    assert condition_words(stage.done) == (
        "the gripper does not touch can 1, or the fingers do not hold can 1 between them"
    )


def test_names_are_read_as_words() -> None:
    assert entity("wooden_cabinet_1_top_region") == "the top region of wooden cabinet 1"
    assert entity("microwave_1_handle") == "the handle of microwave 1"
    assert entity("wooden_cabinet_1_top_region_handle") == "the handle of the top region of wooden cabinet 1"
    assert entity("gripper") == "the gripper"
    assert entity("akita_black_bowl_2") == "akita black bowl 2"
    assert title("reach_can_1") == "Reach can 1"
