"""Settings are checked when they are made, cannot change, and come back from disk as they were."""

from __future__ import annotations

import json
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import BaseModel, ValidationError

from tgrpo_envs import CUSTOM_ID, ENV_IDS
from tgrpo_envs.base_settings import Settings
from tgrpo_envs.errors import ConfigError, UnknownNameError
from tgrpo_envs.shared_settings import Suite
from tgrpo_envs.tasks import bddl_path, get_task
from tgrpo_trainer.__main__ import parse_run
from tgrpo_trainer.config import (
    EnvConfig,
    RolloutConfig,
    RunConfig,
    SftConfig,
    TrainConfig,
)
from tgrpo_trainer.evaluation.tasks import plan_of_run
from tgrpo_trainer.objectives import OBJECTIVES, StageReturn, Tgrpo, with_kind
from tgrpo_trainer.policy import POLICIES, policy_class
from tgrpo_trainer.policy.base import Policy
from tgrpo_trainer.policy.nano.settings import NanoGaussianSettings, NanoSettings
from tgrpo_trainer.policy.openvla.settings import OpenVlaConfig
from tgrpo_trainer.policy.settings import LoraConfig, PolicyConfig
from tgrpo_trainer.policy.smolvla.settings import SmolVlaConfig
from tgrpo_trainer.recipes import RECIPES, get_recipe, quickstart
from tgrpo_trainer.run.checkpoint import PREFIX
from tgrpo_trainer.run.layout import iteration_name
from tgrpo_trainer.run.rng import Stream, derive_seeds
from tgrpo_trainer.run.schedule import Schedule


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_come_back_from_disk(name: str, tmp_path: Path) -> None:
    get_recipe(name).save(tmp_path / "config.json")
    assert TrainConfig.load(tmp_path / "config.json") == get_recipe(name)
    assert get_recipe(name).run.name == name


def test_an_unknown_recipe_names_its_neighbour() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'quickstart'"):
        get_recipe("quick_start")


def test_every_field_is_explained() -> None:
    def fields(model: type[BaseModel]) -> Iterator[tuple[str, str | None]]:
        for name, field in model.model_fields.items():
            if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
                yield from fields(field.annotation)
            else:
                yield f"{model.__name__}.{name}", field.description

    assert [name for name, description in fields(TrainConfig) if not description] == []


def test_every_suite_has_its_environment() -> None:
    assert {suite: EnvConfig(suite=suite).env_id for suite in typing.get_args(Suite)} == {
        suite: f"tgrpo_envs:{env_id}" for suite, env_id in {**ENV_IDS, "custom": CUSTOM_ID}.items()
    }


def test_a_task_file_takes_the_place_of_suite_and_tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = bddl_path(get_task("libero_goal", 2)).read_text()
    Path("mine.bddl").write_text(text.replace("(:language ", "(:language please "))
    config = parse_run("train", ["--env.bddl", "mine.bddl"])
    env = config.env
    assert (env.suite, env.tasks, env.bddl) == ("custom", (0,), tmp_path / "mine.bddl")
    assert env.resolved_task.instruction.startswith("please ")
    (one,) = env.of_each_task()
    assert plan_of_run(config, (one,), 0).counts == {"heldout": config.evaluation.num_heldout}
    assert set(plan_of_run(TrainConfig(), (), 0).counts) == {"heldout", "official"}
    config.save(Path("config.json"))
    assert TrainConfig.load(Path("config.json")) == config


def test_mistakes_are_refused() -> None:
    with pytest.raises((ConfigError, UnknownNameError), match="learning_rte"):
        TrainConfig(update={"learning_rte": 1.0})  # type: ignore[arg-type]
    with pytest.raises((ConfigError, UnknownNameError), match="nothing would be learnt"):
        Tgrpo(alpha_step=0, alpha_trajectory=0)
    with pytest.raises((ConfigError, UnknownNameError), match="greater than or equal to 2"):
        RolloutConfig(num_generations=1)
    with pytest.raises((ConfigError, UnknownNameError), match=r"Unknown kind of policy 'nanno'.*Did you mean 'nano'"):
        PolicyConfig(kind="nanno")
    with pytest.raises(UnknownNameError, match=r"Unknown dtype 'float8'.*'float16'"):
        OpenVlaConfig(dtype="float8")  # type: ignore[arg-type]
    for wrong in ({"rank": -1}, {"alpha": 0}, {"targets": "everything"}):
        with pytest.raises((ConfigError, UnknownNameError)):
            LoraConfig(**wrong)
    with pytest.raises(ValidationError, match="frozen"):
        RunConfig().seed = 3


def test_runs_of_earlier_versions_have_their_settings_elsewhere(tmp_path: Path) -> None:
    old = {
        "kind": "openvla",
        "checkpoint": "owner/name@abc",
        "num_bins": 11,
        "bin_power": 1.5,
        "steps_per_token": 4,
        "openvla": {"decoding": "parallel", "lora": {"rank": 8, "alpha": 4.0, "targets": "language-model"}},
    }
    (tmp_path / "config.json").write_text(json.dumps({"policy": old}))
    policy = TrainConfig.load(tmp_path / "config.json").policy
    assert (policy.kind, policy.checkpoint, policy.openvla.decoding) == ("openvla", "owner/name@abc", "parallel")
    assert policy.lora == LoraConfig(rank=8, alpha=4.0, targets="language-model")
    assert policy.nano.model_dump() == {"num_bins": 11, "bin_power": 1.5, "steps_per_token": 4}
    # Records of evaluations hold a section by itself; with adapters there is nothing to read it as.
    assert OpenVlaConfig.model_validate({"jpeg": True, "lora": {"rank": 0}}) == OpenVlaConfig(jpeg=True)
    with pytest.raises((ConfigError, UnknownNameError), match="lora"):
        OpenVlaConfig(lora={"rank": 8})  # type: ignore[call-arg]


def test_each_kind_of_policy_is_there_and_has_its_settings() -> None:
    sections = {kind: PolicyConfig(kind=kind).own_settings for kind in POLICIES}
    assert sections == {
        "nano": NanoSettings(),
        "nano_gaussian": NanoGaussianSettings(),
        "openvla": OpenVlaConfig(),
        "smolvla": SmolVlaConfig(),
    }
    assert all(issubclass(policy_class(kind), Policy) for kind in POLICIES)


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_every_objective_explains_its_settings_and_comes_back_from_disk(kind: str, tmp_path: Path) -> None:
    assert [name for name, field in OBJECTIVES[kind].model_fields.items() if not field.description] == []
    config = TrainConfig().replace(objective={"kind": kind, "beta": 0.25})
    config.save(tmp_path / "config.json")
    assert json.loads((tmp_path / "config.json").read_text())["objective"]["kind"] == kind
    assert TrainConfig.load(tmp_path / "config.json") == config == config.replace()
    assert type(config.objective) is OBJECTIVES[kind] and config.objective.beta == 0.25


def test_an_objective_is_named_and_has_its_own_settings() -> None:
    for settings, match in (
        ({"kind": "tgrp"}, "Did you mean 'tgrpo'"),
        ({"beta": 0.0}, "one of tgrpo, grpo"),
        ({"kind": "grpo", "alpha_step": 1.0}, "Unknown setting of Grpo 'alpha_step'"),
        (3, "valid dictionary"),
    ):
        with pytest.raises((ConfigError, UnknownNameError), match=match):
            TrainConfig(objective=settings)  # type: ignore[arg-type]
    # Another kind keeps what both have, and takes its own defaults for the rest.
    changed = with_kind(StageReturn(beta=0.02, std_floor=0.1, trajectory_weight=0.3), "tgrpo")
    assert changed == Tgrpo(beta=0.02, std_floor=0.1) and changed.alpha_trajectory == 0.7


def test_settings_of_an_older_version_are_refused_with_the_cure(tmp_path: Path) -> None:
    settings = quickstart().model_dump(mode="json")
    settings["tgrpo"] = {"alpha_step": 1.0}
    del settings["objective"]
    (tmp_path / "config.json").write_text(json.dumps(settings))
    with pytest.raises(ConfigError, match=r"of version 0\.2 or older; .* or start a new run"):
        TrainConfig.load(tmp_path / "config.json")


@pytest.mark.parametrize("content", ["", "[1]", "3", "[" * 100_000])
def test_a_file_that_holds_no_settings_is_said_in_a_sentence(content: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ConfigError, match=r"does not hold the settings of a run: it is no JSON object"):
        TrainConfig.load(tmp_path / "config.json")


@pytest.mark.parametrize("filter_", ["uniform", "0.9..0.1", "0.1", "..", "-1..1", "0..nan"])
def test_a_filter_of_groups_is_a_word_or_a_range(filter_: str) -> None:
    with pytest.raises((ConfigError, UnknownNameError), match="use spread, all, or a range"):
        RolloutConfig(filter=filter_)
    with pytest.raises((ConfigError, UnknownNameError), match="raise max_rounds"):
        RolloutConfig(num_groups=4, min_groups=9, max_rounds=2)


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not the folder of a run"):
        TrainConfig.load(tmp_path / "config.json")
    (tmp_path / "config.json").write_text('{"run": {"colour": "red"}}')
    with pytest.raises(ConfigError, match="colour"):
        TrainConfig.load(tmp_path / "config.json")


def test_evaluations_are_named_like_checkpoints() -> None:
    assert iteration_name(40) == f"{PREFIX}000040"


def test_the_schedule_stops_before_the_last_evaluation_would_be_late() -> None:
    schedule = Schedule(iterations=10, evaluate_every=4, max_s=100.0, evaluation_s=20.0)
    schedule.iteration_s.extend([9.0, 11.0])
    assert not schedule.is_last(5, elapsed_s=70.0)  # 70 + 10 + 20 = 100 fits
    assert schedule.is_last(5, elapsed_s=70.1)
    assert schedule.is_last(10, elapsed_s=0.0)
    assert not Schedule(iterations=10, evaluate_every=4, max_s=None, evaluation_s=20.0).is_last(9, elapsed_s=1e9)


def test_the_time_left_counts_iterations_and_evaluations() -> None:
    schedule = Schedule(iterations=10, evaluate_every=4, max_s=None, evaluation_s=20.0)
    schedule.iteration_s.append(10.0)
    # After 3 iterations: 7 more, evaluations after 4, 8 and 10.
    assert schedule.seconds_left(3, elapsed_s=0.0) == 7 * 10 + 3 * 20
    schedule.max_s = 50.0
    assert schedule.seconds_left(3, elapsed_s=20.0) == 30.0


def test_seeds_differ_between_purposes_iterations_and_runs_and_do_not_move() -> None:
    drawn = [
        tuple(derive_seeds(seed, stream, iteration, count=4))
        for seed in (0, 1)
        for stream in Stream
        for iteration in (0, 1)
    ]
    drawn += [tuple(derive_seeds(0, stream, 0, round_, count=4)) for stream in Stream for round_ in (1, 2)]
    assert len({seed for seeds in drawn for seed in seeds}) == 4 * len(drawn)
    # A change of these numbers changes every run that was ever made: raise the version if it is meant.
    assert derive_seeds(0, Stream.STATES, 0, count=2) == derive_seeds(0, Stream.STATES, 0, count=3)[:2]
    assert derive_seeds(0, Stream.STATES, 1, count=2) == [980773882, 1677108493]


def test_numbers_of_any_library_are_taken_and_truth_values_are_not() -> None:
    config = RunConfig(seed=np.int64(3), max_minutes=torch.tensor(2.5))  # type: ignore[arg-type]
    assert (config.seed, config.max_minutes) == (3, 2.5)
    assert [type(config.seed), type(config.max_minutes)] == [int, float]
    truths: tuple[tuple[dict[str, Any], type[Settings]], ...] = (
        ({"seed": True}, RunConfig),
        ({"task": True}, EnvConfig),
        ({"learning_rate": True}, SftConfig),
    )
    for settings, kind in truths:
        with pytest.raises((ConfigError, UnknownNameError), match="must not be a truth value"):
            kind(**settings)
    value: Any
    for value in (torch.tensor(1.5), np.array([1, 2])):
        with pytest.raises((ConfigError, UnknownNameError)):
            RunConfig(seed=value)
    for value in (float("inf"), np.float32("nan")):
        with pytest.raises((ConfigError, UnknownNameError)):
            SftConfig(learning_rate=value)


def test_settings_of_versions_with_one_task_and_one_file_are_read() -> None:
    old = TrainConfig().model_dump(mode="json")
    del old["env"]["tasks"], old["env"]["max_open_tasks"]
    old["env"]["task"], old["sft"]["demonstrations"] = 4, "mine.hdf5"
    read = TrainConfig.model_validate_json(json.dumps(old))
    assert (read.env.task, read.env.tasks) == (4, (4,))
    assert read.sft.demonstrations == (Path("mine.hdf5"),)
    old["sft"]["demonstrations"] = None
    assert TrainConfig.model_validate_json(json.dumps(old)).sft.demonstrations == ()
    with pytest.raises((ConfigError, UnknownNameError)):
        EnvConfig(tasks=())


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--env.horizon", "0"], "horizon=0 must be a whole number from 1 to 100000."),
        (["--env.credit.beta", "2"], "beta=2.0 must be less than 1."),
        (["--rollout.num-generations", "1"], "num_generations=1 must be greater than or equal to 2."),
        (["--rollout.filter", "3..4"], "use spread, all, or a range of success shares"),
        (["--policy.kind", "nanno"], "Unknown kind of policy 'nanno'. Did you mean 'nano'"),
    ],
)
def test_a_bad_option_of_the_command_line_is_one_sentence(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse_run("train", ["--recipe", "smoke", *arguments])
    printed = capsys.readouterr()
    shown = " ".join((printed.out + printed.err).replace("│", " ").split())
    assert ended.value.code == 2
    assert sentence in shown
    assert "pydantic" not in shown and "validation error" not in shown
