"""Demonstration files: upright pictures, right labels, rebuilt proprioception, plain words for damaged files."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from tests.helpers.made_up import random_input, tiny_nano
from tgrpo_envs.errors import CheckpointError, ConfigError
from tgrpo_trainer.__main__ import main
from tgrpo_trainer.bc.behaviour_cloning import train_sft
from tgrpo_trainer.bc.dataset import DemoDataset, load_demonstrations
from tgrpo_trainer.bc.initial_policy import demonstration_files
from tgrpo_trainer.config import EnvConfig, SftConfig, TrainConfig
from tgrpo_trainer.evaluation.result import load_evaluations

WORDS = "pick up the soup"


def write(
    path: Path, lengths: tuple[int, ...] = (5, 3), *, size: int = 8, ours: bool = True, expert: bool = True
) -> Path:
    """A file laid out as LIBERO's, whose numbers say where they came from."""
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["problem_info"] = json.dumps({"language_instruction": WORDS})
        if ours:
            data.attrs["observation_row"] = "before its action"
        for index, steps in enumerate(lengths):
            demo = data.create_group(f"demo_{index}")
            demo["actions"] = np.full((steps, 7), -0.5)
            if expert:
                demo["expert_actions"] = np.arange(steps)[:, None] / 10 + np.full((steps, 7), index / 100)
            obs = demo.create_group("obs")
            for name in ("agentview_rgb", "eye_in_hand_rgb"):
                obs[name] = rng.integers(0, 256, (steps, size, size, 3), dtype=np.uint8)
            if ours:
                obs["proprio"] = rng.normal(size=(steps, 12)).astype(np.float32)
    return path


def load(path: Path, **options: Any) -> DemoDataset:
    return load_demonstrations(path, **{"action_chunk": 3, "image_size": 8, **options})


def test_pictures_are_turned_upright_and_belong_to_their_step(tmp_path: Path) -> None:
    path = write(tmp_path / "demos.hdf5")
    dataset = load(path)
    assert len(dataset) == 8 and dataset.instructions == (WORDS,)
    with h5py.File(path) as file:
        stored = file["data/demo_1/obs/agentview_rgb"][2]
        stored_proprio = file["data/demo_1/obs/proprio"][2]
    # Row 0 of the picture is the last row stored; left and right stay.
    np.testing.assert_array_equal(dataset.agentview_MHWC[7].numpy(), stored[::-1])
    np.testing.assert_array_equal(dataset.proprio_MP[7].numpy(), stored_proprio)
    assert dataset.wrist_MHWC.dtype == torch.uint8 and dataset.proprio_MP.dtype == torch.float32


def test_labels_are_the_experts_next_actions_padded_within_their_demonstration(tmp_path: Path) -> None:
    dataset = load(write(tmp_path / "demos.hdf5"))
    expected = [[0.0, 0.1, 0.2], [0.1, 0.2, 0.3], [0.2, 0.3, 0.4], [0.3, 0.4, 0.4], [0.4, 0.4, 0.4]]
    np.testing.assert_allclose(dataset.actions_MCA[:5, :, 0].numpy(), expected, atol=1e-6)
    assert dataset.valid_MC[2:5].tolist() == [[True, True, True], [True, True, False], [True, False, False]]
    np.testing.assert_allclose(dataset.actions_MCA[5, :, 6].numpy(), [0.01, 0.11, 0.21], atol=1e-6)


def test_executed_actions_are_the_labels_where_there_are_no_others(tmp_path: Path) -> None:
    dataset = load(write(tmp_path / "demos.hdf5", expert=False))
    assert (dataset.actions_MCA == -0.5).all()


def test_the_environments_words_win_over_the_files(tmp_path: Path) -> None:
    assert load(write(tmp_path / "demos.hdf5"), instruction="fetch").instructions == ("fetch",)


def test_demonstrations_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    dataset = load(write(tmp_path / "demos.hdf5", lengths=(1,) * 11))
    np.testing.assert_allclose(dataset.actions_MCA[:, 0, 0].numpy(), np.arange(11) / 100, atol=1e-6)


def test_larger_pictures_are_averaged_down_and_smaller_ones_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "demos.hdf5")
    whole, half = load(path), load(path, image_size=4)
    blocks = whole.agentview_MHWC.double().view(8, 4, 2, 4, 2, 3).mean((2, 4))
    assert (half.agentview_MHWC.double() - blocks).abs().max() <= 0.5
    with pytest.raises(CheckpointError, match="8 pixels"):
        load(path, image_size=16)


def test_liberos_own_files_are_realigned_and_their_proprioception_rebuilt(tmp_path: Path) -> None:
    path = write(tmp_path / "demos.hdf5", lengths=(5,), ours=False, expert=False)
    with h5py.File(path, "r+") as file:
        obs = file["data/demo_0/obs"]
        obs["ee_pos"] = np.tile([0.1, 0.2, 0.3], (5, 1))
        # The hand turned by 90 degrees about the world's z, and not at all: its columns are y, -x, z and x, y, z.
        obs["ee_ori"] = [[0, 0, math.pi / 2]] + 4 * [[0, 0, 0]]
        obs["gripper_states"] = np.tile([0.04, -0.04], (5, 1))
        file["data/demo_0/actions"][:, 6] = [1, 1, -1, 1, -1]
        stored = file["data/demo_0/obs/agentview_rgb"][0]
    with pytest.raises(CheckpointError, match=r"--sft\.demo-rows"):
        load(path)  # an arm that stands still does not tell
    dataset = load(path, rows="after", pictures="opengl")
    proprio_MP = dataset.proprio_MP.numpy()
    # The site's x is the hand's -y and its y is the hand's x.
    np.testing.assert_allclose(proprio_MP[0], [0.1, 0.2, 0.3, 1, 0, 0, 0, 1, 0, 0.04, -0.04, -0.75], atol=1e-7)
    np.testing.assert_allclose(proprio_MP[1, 3:9], [0, -1, 0, 1, 0, 0], atol=1e-7)
    # Closing twice moves the command from -1 by a quarter each. A row is what was seen after its action, so its label
    # is the next one, and the last row has none.
    np.testing.assert_allclose(proprio_MP[:, 11], [-0.75, -0.5, -0.75, -0.5])
    assert dataset.actions_MCA[:, 0, 6].tolist() == [1.0, -1.0, 1.0, -1.0]
    np.testing.assert_array_equal(dataset.agentview_MHWC[0].numpy(), stored[::-1])


def test_damaged_files_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"absent\.hdf5"):
        load(tmp_path / "absent.hdf5")
    whole = write(tmp_path / "demos.hdf5").read_bytes()
    cut = tmp_path / "cut.hdf5"
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match=r"cut\.hdf5"):
        load(cut)
    with h5py.File(tmp_path / "other.hdf5", "w") as file:
        file["something"] = 1
    with pytest.raises(CheckpointError, match=r"other\.hdf5"):
        load(tmp_path / "other.hdf5")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data["demo_0/expert_actions"].write_direct(np.full((5, 7), np.nan)), "not numbers"),
        (lambda data: data["demo_0/expert_actions"].write_direct(np.full((5, 7), 1.5)), r"\[-1, 1\]"),
        (lambda data: data["demo_0"].pop("expert_actions") and data["demo_0"].pop("actions"), "actions"),
        (lambda data: data["demo_0/obs"].pop("proprio"), "proprio"),
        (lambda data: data.pop("demo_0") and data.pop("demo_1"), "no demonstrations"),
    ],
)
def test_unusable_contents_are_refused(tmp_path: Path, change: Callable[[Any], object], message: str) -> None:
    path = write(tmp_path / "demos.hdf5")
    with h5py.File(path, "r+") as file:
        change(file["data"])
    with pytest.raises(CheckpointError, match=message):
        load(path)


def test_files_of_several_tasks_are_one_data_set_whose_rows_know_their_words(tmp_path: Path) -> None:
    first, second = write(tmp_path / "a.hdf5"), write(tmp_path / "b.hdf5", lengths=(4,))
    parts = [load(first, instruction="fetch"), load(second, instruction="push"), load(second, instruction="fetch")]
    dataset = DemoDataset.cat(parts)
    assert dataset.instructions == ("fetch", "push")
    assert dataset.task_M.tolist() == [0] * 8 + [1] * 4 + [0] * 4
    assert torch.equal(dataset.actions_MCA[8:12], dataset.actions_MCA[12:])
    assert torch.equal(dataset.proprio_MP, torch.cat([part.proprio_MP for part in parts]))
    assert DemoDataset.cat(parts[:1]) is parts[0]


def test_several_tasks_take_one_file_each_in_their_order_and_record_one_each_otherwise(tmp_path: Path) -> None:
    def files(tasks: tuple[int, ...], *paths: str) -> list[tuple[int | str, str]]:
        config = TrainConfig(env=EnvConfig(tasks=tasks), sft=SftConfig(demonstrations=tuple(map(Path, paths))))
        return [(task.task, str(path)) for task, path in demonstration_files(config, Path("run"))]

    assert files((4,)) == [(4, "run/demonstrations.hdf5")]
    assert files((4,), "a", "b") == [(4, "a"), (4, "b")]  # more of the same task
    assert files((4, 0)) == [(4, "run/demonstrations/task_04.hdf5"), (0, "run/demonstrations/task_00.hdf5")]
    assert files((4, 0), "a", "b") == [(4, "a"), (0, "b")]
    with pytest.raises(ConfigError, match="names 1 files for 2 tasks; give one for each, in their order: 4, 0"):
        files((4, 0), "a")


def test_cloning_learns_each_task_under_its_own_words(tmp_path: Path) -> None:
    """Pictures and proprioception are the same in both tasks: only the words tell which way to go."""
    seen = random_input(1).rows(torch.zeros(8, dtype=torch.int64))
    task_M = torch.tensor([0, 1] * 4)
    dataset = DemoDataset(
        seen.agentview_NHWC,
        seen.wrist_NHWC,
        seen.proprio_NP,
        actions_MCA=(task_M * 2.0 - 1).reshape(-1, 1, 1).expand(-1, 1, 7),
        valid_MC=torch.ones(8, 1, dtype=torch.bool),
        task_M=task_M,
        instructions=("go left", "go right"),
    )
    policy = tiny_nano(action_chunk=1)
    config = SftConfig(max_steps=60, batch_size=16, learning_rate=1e-2)
    measured = train_sft(policy, dataset, config=config, generator=torch.Generator().manual_seed(0))
    assert measured["accuracy"] > 0.6  # the mean of the last 50 of 60 steps; blind to the words it is a half
    obs = dataclasses.replace(seen.rows(slice(2)), instruction_NL=policy.encode_instructions(dataset.instructions))
    left, right = policy.sample(obs, greedy=True).actions_NCA
    assert (left == -1).all() and (right == 1).all()


@pytest.mark.slow
def test_a_run_of_two_tasks_records_clones_and_improves_on_libero(tmp_path: Path) -> None:
    arguments = ["train", "--recipe", "smoke", "--env.tasks", "0", "4", "--run.folder", str(tmp_path)]
    assert main([*arguments, "--rollout.num-groups", "2"]) == 0
    with h5py.File(tmp_path / "smoke" / "demonstrations" / "task_04.hdf5") as file:
        assert "ketchup" in json.loads(file["data"].attrs["problem_info"])["language_instruction"]
    page = (tmp_path / "smoke" / "report.html").read_text(encoding="utf-8")
    assert "Success of each task" in page and "04: pick up the ketchup" in page
    evaluations = load_evaluations(tmp_path / "smoke" / "evaluations" / "iteration_000001.json")
    assert [(one.env.task, one.key) for one in evaluations[3:5]] == [(0, "official_sampled"), (4, "heldout_greedy")]
