"""The door to the environments: a run can set what an environment can do, and what it sets arrives there."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from tgrpo_envs.perturbation import Perturbation
from tgrpo_envs.rewards.credit import CreditProfile
from tgrpo_envs.settings import EnvSettings
from tgrpo_envs.vector import LiberoVectorEnv
from tgrpo_trainer.__main__ import parse_run
from tgrpo_trainer.config import EnvConfig
from tgrpo_trainer.rollout.environment import make_envs

FOLLOW = {"task", "init_states", "render_size", "observe", "cameras", "depth", "segmentation"}
"""Settings that follow from what a run does with tasks and states, and the policy with the pictures."""
LIBEROS = {"control", "action_scale", "gripper"}
"""Settings that a run leaves at LIBERO's: demonstrations and policies speak its actions."""


def test_a_run_has_every_setting_of_an_environment_but_those_that_follow() -> None:
    assert set(EnvSettings.model_fields) - set(EnvConfig.model_fields) == FOLLOW | LIBEROS


@pytest.mark.parametrize(
    ("arguments", "name", "value"),
    [
        (["--env.credit.beta", "0.25", "--env.credit.mode", "goals-only"], "credit", (0.25, "goals-only")),
        (["--env.fixture-poses", "per_episode"], "fixture_poses", "per_episode"),
        (["--env.detail", "exact"], "detail", "exact"),
        (["--env.perturb", "light", "--env.perturb-level", "3"], "perturbation", Perturbation("light", 3)),
        (["--env.tasks", "6"], "task", 6),
        (["--env.horizon", "40"], "horizon", 40),
        (["--env.num-threads", "3"], "num_threads", 3),
        (["--env.reward", "sparse"], "reward", "sparse"),
    ],
)
def test_what_a_run_sets_arrives_at_its_environments(
    arguments: list[str], name: str, value: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = parse_run("train", ["--recipe", "smoke", *arguments])
    with closing(make_envs(config.env, 2)) as envs:
        assert isinstance(envs, LiberoVectorEnv)
        got = getattr(envs.settings, name)
    assert ((got.beta, got.mode) if isinstance(got, CreditProfile) else got) == value
