"""Demonstrations of one of LIBERO's tasks are not learnt under the words of another, nor as what they do not show."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import h5py
import numpy as np
import pytest

from tgrpo_envs.errors import CheckpointError
from tgrpo_envs.tasks import CUSTOM, Task, bddl_path, get_task, task_from_text
from tgrpo_trainer.bc.dataset import DemoDataset, load_demonstrations
from tgrpo_trainer.bc.initial_policy import _record_demonstrations
from tgrpo_trainer.recipes import smoke
from tgrpo_trainer.run.layout import DEMONSTRATIONS_NAME

KETCHUP, SOUP = get_task("libero_object", 4), get_task("libero_object", 0)


def load(folder: Path, task: Task, stated: str | bytes | None, content: str = "") -> DemoDataset:
    path, rng = folder / "demos.hdf5", np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["observation_row"] = "before its action"
        if stated is not None:
            data.attrs["bddl_file_name"] = stated
        if content:
            data.attrs["bddl_file_content"] = content
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
    assert len(load(tmp_path, own, f"bddl_files/libero_object/{SOUP.name}.bddl")) == 5
    assert len(load(tmp_path, own, "bddl_files/custom/elsewhere.bddl")) == 5  # without a text, nobody knows


def test_of_a_task_of_one_s_own_the_goal_decides(tmp_path: Path) -> None:
    """Other regions, words and names are no other task; another goal is, under whichever name."""
    text = bddl_path(SOUP).read_text(encoding="utf-8")
    own, other = task_from_text("mine", text), text.replace("(In alphabet_soup_1", "(In milk_1")
    for stated in ("mine", "another"):
        wider = text.replace("(:language Pick", "(:language Please pick")
        assert wider != text
        assert len(load(tmp_path, own, f"bddl_files/custom/{stated}.bddl", wider)) == 5
        with pytest.raises(
            CheckpointError,
            match=rf"shows {stated} with the goal \(in milk_1 basket_1_contain_region\), and would be learnt as mine "
            r"with the goal \(in alphabet_soup_1 .*\); record it again",
        ):
            load(tmp_path, own, f"bddl_files/custom/{stated}.bddl", other)
    with pytest.raises(CheckpointError, match="shows another with the goal"):
        load(tmp_path, SOUP, "bddl_files/custom/another.bddl", other)
    with pytest.raises(CheckpointError, match=f"shows {KETCHUP.name} with the goal"):
        load(tmp_path, own, f"bddl_files/libero_object/{KETCHUP.name}.bddl")


def test_what_recorded_demonstrations_do_not_show_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / DEMONSTRATIONS_NAME).touch()  # so that nothing is recorded here
    usual = smoke()
    _record_demonstrations(usual, tmp_path)
    assert "Warning" not in capsys.readouterr().out
    other = {**usual.env.model_dump(), "perturb": "camera", "detail": "exact"}
    _record_demonstrations(usual.replace(env=other), tmp_path)
    assert "recorded as if env.perturb, env.detail were not set" in capsys.readouterr().out
