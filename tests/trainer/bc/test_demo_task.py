"""Demonstrations of one of LIBERO's tasks are not learnt under the words of another, nor as what they do not show."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import h5py
import numpy as np
import pytest

from tgrpo_envs.errors import CheckpointError
from tgrpo_envs.tasks import CUSTOM, Task, get_task
from tgrpo_trainer.bc.dataset import DemoDataset, load_demonstrations
from tgrpo_trainer.bc.initial_policy import _record_demonstrations
from tgrpo_trainer.recipes import smoke
from tgrpo_trainer.run.layout import DEMONSTRATIONS_NAME

KETCHUP, SOUP = get_task("libero_object", 4), get_task("libero_object", 0)


def load(folder: Path, task: Task, stated: str | bytes | None) -> DemoDataset:
    path, rng = folder / "demos.hdf5", np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["observation_row"] = "before its action"
        if stated is not None:
            data.attrs["bddl_file_name"] = stated
        demo = data.create_group("demo_0")
        demo["actions"] = np.full((5, 7), -0.5)
        demo["obs/proprio"] = rng.normal(size=(5, 12))
        for name in ("agentview_rgb", "eye_in_hand_rgb"):
            demo[f"obs/{name}"] = np.zeros((5, 8, 8, 3), np.uint8)
    return load_demonstrations(path, action_chunk=1, image_size=8, task=task, instruction=task.instruction)


@pytest.mark.parametrize("kind", [str, str.encode])
def test_another_task_s_are_refused(kind: type, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=f"the task {KETCHUP.name}, and would be learnt as {SOUP.name}; give"):
        load(tmp_path, SOUP, kind(f"bddl_files/libero_object/{KETCHUP.name}.bddl"))


@pytest.mark.parametrize(
    "stated",
    [None, "", f"bddl_files/libero_object/{SOUP.name}.bddl", f"/a/{SOUP.name}_view_3.bddl", "my_own_copy.bddl"],
)
def test_its_own_and_what_names_none_are_taken(stated: str | None, tmp_path: Path) -> None:
    assert load(tmp_path, SOUP, stated).instructions == (SOUP.instruction,)


def test_a_task_file_of_one_s_own_may_be_a_copy(tmp_path: Path) -> None:
    own = dataclasses.replace(SOUP, suite=CUSTOM, name="mine")
    assert len(load(tmp_path, own, f"bddl_files/libero_object/{KETCHUP.name}.bddl")) == 5


def test_what_recorded_demonstrations_do_not_show_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / DEMONSTRATIONS_NAME).touch()  # so that nothing is recorded here
    usual = smoke()
    _record_demonstrations(usual, tmp_path)
    assert "Warning" not in capsys.readouterr().out
    other = {**usual.env.model_dump(), "perturb": "camera", "detail": "exact"}
    _record_demonstrations(usual.replace(env=other), tmp_path)
    assert "recorded as if env.perturb, env.detail were not set" in capsys.readouterr().out
