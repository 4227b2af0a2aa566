"""A new run from a policy that a run saved: it begins as that policy was trained, or is refused with what differs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.helpers.tiny_oft import tiny_oft
from tests.helpers.tiny_openvla import STATISTICS, openvla_input, tiny_openvla
from tgrpo_envs.errors import CheckpointError, ConfigError
from tgrpo_trainer.__main__ import parse_run
from tgrpo_trainer.config import TrainConfig
from tgrpo_trainer.policy import load_policy
from tgrpo_trainer.policy.base import PolicyStart
from tgrpo_trainer.policy.nano.policy import NanoConfig, NanoPolicy
from tgrpo_trainer.policy.openvla.policy import OpenVlaPolicy
from tgrpo_trainer.policy.openvla.settings import OpenVlaConfig
from tgrpo_trainer.policy.smolvla.policy import SmolVlaPolicy, _settings_of_start
from tgrpo_trainer.policy.smolvla.settings import SmolVlaConfig, SmolVlaSettings

TWO_SETS = {"libero_object": STATISTICS["libero_spatial"], "mine": STATISTICS["libero_object_no_noops"]}


def a_start(checkpoint: Path, settings: OpenVlaConfig | SmolVlaConfig, chunk: int = 1) -> PolicyStart:
    return PolicyStart(
        image_size=32,
        action_chunk=chunk,
        suite="libero_object",
        checkpoint=str(checkpoint),
        settings=settings,
        lora=None,
        weights_seed=0,
        adapters_seed=0,
    )


def started(checkpoint: Path, chunk: int = 1, **chosen: Any) -> OpenVlaPolicy:
    return OpenVlaPolicy.start(a_start(checkpoint, OpenVlaConfig(**chosen), chunk))


def saved(policy: OpenVlaPolicy, folder: Path) -> Path:
    folder.mkdir()
    policy.save(folder)
    return folder


@pytest.fixture
def unusual(tmp_path: Path) -> Path:
    """A policy of a run with settings of its own, all other than a published model's usual ones."""
    tiny_openvla(tmp_path / "published")
    (tmp_path / "published" / "dataset_statistics.json").write_text(json.dumps(TWO_SETS))
    chosen = {"center_crop": False, "jpeg": True, "decoding": "parallel", "num_pictures": 2, "unnorm_key": "mine"}
    return saved(started(tmp_path / "published", chunk=8, **chosen), tmp_path / "saved")


def test_each_setting_that_differs_is_named_with_the_option_that_keeps_it(unusual: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        started(unusual)
    said = str(caught.value)
    for difference in (
        "center_crop False (this run's is True)",
        "jpeg True (this run's is False)",
        "decoding parallel (this run's is autoregressive)",
        "env.action_chunk 8 (this run's is 1)",
    ):
        assert difference in said
    options = said.partition("go on so with ")[2].partition(", or,")[0]
    assert options == (
        "--policy.openvla.no-center-crop --policy.openvla.jpeg --policy.openvla.decoding parallel --env.action-chunk 8"
    )
    arguments = ["--recipe", "openvla_libero", *options.split(), "--policy.checkpoint", str(unusual)]
    config = parse_run("train", [*arguments, "--env.image-size", "32", "--run.name", "restart"])
    for again in (config, TrainConfig(**json.loads(config.model_dump_json()))):  # as a resumed run has them
        new = OpenVlaPolicy.start(a_start(unusual, again.policy.openvla, again.env.action_chunk))
        assert new.settings == replace(kept(unusual).settings, gradient_checkpointing=True)


def kept(folder: Path) -> OpenVlaPolicy:
    """As `eval` has it."""
    policy = load_policy(folder)
    assert isinstance(policy, OpenVlaPolicy)
    return policy


def test_what_is_left_open_is_as_it_was_saved(unusual: Path) -> None:
    same = {"center_crop": False, "jpeg": True, "decoding": "parallel"}
    new = started(unusual, chunk=8, **same)
    assert new.settings == kept(unusual).settings and new.model.architecture.num_pictures == 2
    obs = openvla_input(new, ["reach the middle"] * 2)
    actions = [policy.sample(obs, greedy=True).actions_NCA for policy in (new, kept(unusual))]
    assert torch.equal(*actions)
    given = started(unusual, chunk=8, **same, unnorm_key="libero_object", num_pictures=1)
    assert given.codec.low_A.tolist() == [-1.0] * 7 and given.model.architecture.num_pictures == 1


def test_without_the_runs_settings_it_is_a_published_model_again(unusual: Path) -> None:
    (unusual / "tgrpo.json").unlink()
    new = started(unusual)
    assert (new.settings.unnorm_key, new.settings.center_crop, new.settings.jpeg) == ("libero_object", True, False)


def test_the_noise_has_its_saved_density_and_its_saved_scale_unless_another_is_given(tmp_path: Path) -> None:
    folder = saved(tiny_oft(tmp_path / "published", noise="gaussian", noise_scale=0.5), tmp_path / "saved")
    with pytest.raises(ConfigError, match=r"go on so with --policy\.openvla\.noise gaussian, or"):
        started(folder, chunk=8, decoding="parallel")
    new = started(folder, chunk=8, decoding="parallel", noise="gaussian")
    torch.testing.assert_close(new.model.scale(), torch.full((7,), 0.5))
    other = started(folder, chunk=8, decoding="parallel", noise="gaussian", noise_scale=0.25)
    torch.testing.assert_close(other.model.scale(), torch.full((7,), 0.25))


def test_statistics_that_are_named_like_a_suite_follow_the_new_runs(tmp_path: Path) -> None:
    tiny_openvla(tmp_path / "published")
    folder = saved(started(tmp_path / "published"), tmp_path / "saved")  # libero_object's
    elsewhere = replace(a_start(folder, OpenVlaConfig()), suite="libero_spatial")
    assert OpenVlaPolicy.start(elsewhere).settings.unnorm_key == "libero_spatial"
    named = replace(elsewhere, settings=OpenVlaConfig(unnorm_key="libero_object"))
    assert OpenVlaPolicy.start(named).settings.unnorm_key == "libero_object"


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"kind": "nano"}, "holds a policy of kind nano, but policy.kind is openvla; give --policy.kind nano"),
        ({"type": "smolvla"}, "kind smolvla, but policy.kind is openvla; give --policy.kind smolvla"),
        ({"type": "pi0"}, "kind pi0, but policy.kind is openvla; name one of kind openvla"),
        ({"model_type": "llama"}, "kind llama, but policy.kind is openvla"),
    ],
)
def test_another_kind_of_policy_is_named(tmp_path: Path, config: dict[str, str], said: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "tgrpo.json").write_text(json.dumps({"kind": "of another kind", "colour": "blue"}))
    with pytest.raises(CheckpointError, match=said):
        started(tmp_path)


def test_a_saved_nano_is_no_smolvla(tmp_path: Path) -> None:
    NanoPolicy(NanoConfig(image_size=16)).save(tmp_path)
    with pytest.raises(CheckpointError, match=r"kind nano, but policy\.kind is smolvla; give --policy\.kind nano"):
        SmolVlaPolicy.start(a_start(tmp_path, SmolVlaConfig()))


def test_smolvlas_settings_alone_need_no_lerobot(tmp_path: Path) -> None:
    def settings(**chosen: Any) -> SmolVlaSettings:
        section = SmolVlaConfig(**chosen)
        return _settings_of_start(a_start(tmp_path, section, chunk=5), section, tmp_path)

    assert settings() == SmolVlaSettings(image_size=32, action_chunk=5, noise_level=1.0)
    written = SmolVlaSettings(image_size=32, action_chunk=5, noise_level=0.6, agentview="observation.images.front")
    (tmp_path / "tgrpo.json").write_text(json.dumps({"kind": "smolvla", **written.model_dump()}))
    with pytest.raises(ConfigError, match=r"--policy\.smolvla\.agentview observation\.images\.front, or"):
        settings()
    with pytest.raises(ConfigError, match=r"--policy\.smolvla\.noise-level 0\.6, or"):
        settings(agentview="observation.images.front")
    assert settings(agentview="observation.images.front", noise_level=0.6) == written
