"""LeRobot's plugin: its name by the rules of LeRobot; where LeRobot is installed, its own factory and processors."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tgrpo_envs.bridges.libero import state
from tgrpo_envs.errors import TgrpoError

FOLDER = Path(__file__).parents[3] / "plugins" / "lerobot"


def test_the_distribution_is_named_as_its_package_is_imported() -> None:
    """LeRobot (utils/import_utils.py) imports installed distributions that begin so, by their names as they stand."""
    described = tomllib.loads((FOLDER / "pyproject.toml").read_text())
    name = described["project"]["name"]
    assert name.startswith("lerobot_env_")
    assert described["tool"]["setuptools"]["packages"] == [name]
    assert (FOLDER / name / "__init__.py").is_file()


def test_constraints_are_within_what_tgrpo_asks_for() -> None:
    specifiers = pytest.importorskip("packaging.specifiers")
    requirements = pytest.importorskip("packaging.requirements")
    project = tomllib.loads((FOLDER.parents[1] / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *(each for extra in project["optional-dependencies"].values() for each in extra)]
    wanted: dict[str, Any] = {}
    for line in asked:
        requirement = requirements.Requirement(line)
        wanted.setdefault(requirement.name, specifiers.SpecifierSet())
        wanted[requirement.name] &= requirement.specifier
    lines = (FOLDER / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert {"mujoco", "numpy", "torch", "wandb"} <= pins.keys()
    for name, version in pins.items():
        assert name not in wanted or wanted[name].contains(version), name


def test_lerobots_factory_and_processor_make_the_state_that_policies_know(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("lerobot.envs")
    from lerobot.envs import make_env, preprocess_observation
    from lerobot.envs.factory import make_env_config

    monkeypatch.syspath_prepend(str(FOLDER))
    __import__("lerobot_env_tgrpo")
    config = make_env_config("tgrpo", task_ids=[0, 3], assets="primitive", detail="fast", image_size=64)
    assert make_env_config("tgrpo", control_mode="absolute").gym_kwargs["control"] == "pose"
    with pytest.raises(ValueError, match="sideways"):
        make_env_config("tgrpo", control_mode="sideways")
    envs = make_env(config, n_envs=2, use_async_envs=True)["libero_object"]
    assert sorted(envs) == [0, 3]
    observation, _ = envs[0].reset(seed=[0, 1], options={"lerobot_new_rollout": True})
    before, _ = config.get_env_processors()
    seen = before(preprocess_observation(observation))
    simulator = envs[0].unwrapped.episodes.simulator
    np.testing.assert_allclose(seen["observation.state"].numpy(), state(simulator, [0, 1]), atol=1e-6)
    assert {name for name in seen if name.startswith("observation.")} == set(config.features) - {"action"}
    upright = envs[0].unwrapped.batch.observations["agentview"][0]
    turned = seen["observation.images.image"][0].permute(1, 2, 0).numpy() * 255.0
    np.testing.assert_allclose(turned, upright[:, ::-1], atol=1e-3)
    for env in envs.values():
        env.close()
    sys.modules.pop("lerobot_env_tgrpo", None)


def test_files_that_make_no_data_set_are_refused_before_one_is_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("lerobot.datasets")
    h5py = pytest.importorskip("h5py")
    monkeypatch.syspath_prepend(str(FOLDER))
    write_dataset = __import__("lerobot_env_tgrpo.dataset", fromlist=["write_dataset"]).write_dataset
    for name, side in {"small": 16, "large": 32}.items():
        with h5py.File(tmp_path / name, "w") as file:
            data = file.create_group("data")
            data.attrs.update(
                observation_row="before its action", num_demos=1, problem_info='{"language_instruction": ""}'
            )
            data.create_dataset("demo_0/obs/agentview_rgb", data=np.zeros((1, side, side, 3), np.uint8))
    (tmp_path / "text").write_text("no HDF5")
    out = tmp_path / "out"
    for names, said in (
        ([], "0 with"),
        (["small", "large"], r"2 with \[16, 32\] pixels"),
        (["small", "text"], "text is no file of"),
        (["small", "none"], "none is no file of"),
    ):
        with pytest.raises(TgrpoError, match=said):
            write_dataset([tmp_path / name for name in names], out, "local/tgrpo")
        assert not out.exists()
    for name in [name for name in sys.modules if name.startswith("lerobot_env_tgrpo")]:
        sys.modules.pop(name)
