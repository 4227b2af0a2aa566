"""What a demonstration file may hold instead of numbers and pictures: named with its place, and what to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from tgrpo_envs.errors import CheckpointError
from tgrpo_trainer.bc.dataset import DemoDataset, load_demonstrations

STEPS, SIZE = 4, 8


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Two small demonstrations in LIBERO's fields that say how they are laid out."""
    path = tmp_path / "demos.hdf5"
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["observation_row"] = "before its action"
        for index in range(2):
            demo = data.create_group(f"demo_{index}")
            demo["actions"] = np.full((STEPS, 7), 0.25 * index)
            for name in ("agentview_rgb", "eye_in_hand_rgb"):
                demo[f"obs/{name}"] = np.full((STEPS, SIZE, SIZE, 3), index, np.uint8)
            demo["obs/ee_states"] = np.zeros((STEPS, 6))
            demo["obs/gripper_states"] = np.zeros((STEPS, 2))
    return path


def load(path: Path, **options: Any) -> DemoDataset:
    return load_demonstrations(path, action_chunk=2, image_size=SIZE, **{"instruction": "x", **options})


def change(path: Path, name: str, array: NDArray[Any] | np.float64 | None, index: int = 1, **options: Any) -> None:
    """Put another dataset in a demonstration's place."""
    with h5py.File(path, "r+") as file:
        demo = file[f"data/demo_{index}"]
        if name in demo:
            del demo[name]
        if array is not None:
            demo.create_dataset(name, data=array, **options)


def test_the_file_as_it_is_can_be_read(path: Path) -> None:
    dataset = load(path)
    assert len(dataset) == 2 * STEPS
    assert dataset.agentview_MHWC[:, 0, 0, 0].tolist() == [0] * STEPS + [1] * STEPS


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("actions", None, r"data/demo_1 has no dataset actions"),
        ("actions", np.zeros((0, 7)), r"data/demo_1 holds no steps"),
        ("actions", np.zeros((STEPS, 6)), r"data/demo_1/actions has shape \(4, 6\) instead of \(steps, 7\)"),
        ("actions", np.zeros(STEPS), r"data/demo_1/actions has shape \(4,\)"),
        ("actions", np.float64(0), r"data/demo_1/actions has shape \(\)"),
        ("actions", np.full((STEPS, 7), 1.5), r"data/demo_1/actions reaches 1\.5, .* \[-1, 1\]"),
        ("actions", np.full((STEPS, 7), np.nan), r"data/demo_1/actions holds nan in row 0"),
        ("actions", np.full((STEPS, 7), b"0.1"), r"data/demo_1/actions holds \|S3 instead of numbers"),
        ("actions", np.full((STEPS, 7), 1j), r"data/demo_1/actions holds complex128"),
        ("actions", np.array([[0.0] * 6 + [grip] for grip in (0, 0, 1, 1)]), r"gripper of 0 and 1"),
        ("actions", np.zeros((STEPS + 1, 7)), r"data/demo_1/obs/ee_states has shape \(4, 6\) instead of \(5, 6\)"),
        ("expert_actions", np.zeros((STEPS - 1, 7)), r"demo_1/expert_actions has shape \(3, 7\) instead of \(4, 7"),
        ("obs", None, r"data/demo_1 has no group obs"),
        ("obs/ee_states", None, r"data/demo_1/obs has neither proprio nor ee_pos and ee_ori nor ee_states"),
        ("obs/ee_states", np.full((STEPS, 6), np.inf), r"data/demo_1/obs/ee_states holds inf in row 0"),
        ("obs/ee_states", np.full((STEPS, 6), 8.0), r"data/demo_1/obs: .* not an axis times an angle in radians"),
        ("obs/ee_states", np.full((STEPS, 6), 430.0), r"data/demo_1/obs/ee_states reaches 430"),
        ("obs/ee_pos", np.zeros((STEPS, 3)), r"data/demo_1/obs has no dataset ee_ori"),
        ("obs/gripper_states", np.zeros((STEPS, 1)), r"data/demo_1/obs/gripper_states has shape \(4, 1\)"),
        ("obs/proprio", np.zeros((STEPS, 8)), r"data/demo_1/obs/proprio has shape \(4, 8\) instead of \(4, 12\)"),
        ("obs/agentview_rgb", None, r"data/demo_1/obs has no dataset agentview_rgb"),
        ("obs/agentview_rgb", np.zeros((STEPS - 1, SIZE, SIZE, 3), np.uint8), r"demo_1/obs/agentview_rgb has shape"),
        ("obs/agentview_rgb", np.zeros((STEPS, SIZE, SIZE, 4), np.uint8), r"agentview_rgb has shape \(4, 8, 8, 4\)"),
        ("obs/agentview_rgb", np.zeros((STEPS, 3, SIZE, SIZE), np.uint8), r"agentview_rgb has shape \(4, 3, 8, 8\)"),
        ("obs/agentview_rgb", np.zeros((STEPS, SIZE, SIZE, 3)), r"agentview_rgb holds float64; .* uint8 from 0 to 255"),
        ("obs/eye_in_hand_rgb", np.zeros((STEPS, SIZE, 6, 3), np.uint8), r"eye_in_hand_rgb has pictures of 8 x 6"),
        ("obs/eye_in_hand_rgb", np.zeros((STEPS, 0, 0, 3), np.uint8), r"eye_in_hand_rgb has pictures of 0 x 0"),
        ("obs/eye_in_hand_rgb", np.zeros((STEPS, 4, 4, 3), np.uint8), r"demo_1 has pictures of 4 pixels"),
    ],
)  # fmt: skip
def test_a_wrong_field_is_named_with_its_file_and_demonstration(
    path: Path, name: str, array: NDArray[Any] | np.float64 | None, message: str
) -> None:
    change(path, name, array)
    with pytest.raises(CheckpointError, match=message) as refusal:
        load(path)
    assert str(refusal.value).startswith(f"{path}: ")
    assert "\n" not in str(refusal.value)


def test_clean_labels_in_some_demonstrations_only_are_refused(path: Path) -> None:
    change(path, "expert_actions", np.zeros((STEPS, 7)))
    with pytest.raises(CheckpointError, match="only some demonstrations have expert_actions"):
        load(path)


def test_a_header_that_promises_more_than_memory_holds_is_refused_unread(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        del file["data/demo_1/obs/agentview_rgb"]
        file["data/demo_1/obs"].create_dataset("agentview_rgb", (STEPS, 10**6, 10**6, 3), np.uint8, chunks=(1, 8, 8, 3))
    with pytest.raises(CheckpointError, match=r"agentview_rgb has 12000000000000 bytes"):
        load(path)


def test_whole_numbers_and_compression_are_as_good_as_any(path: Path) -> None:
    change(path, "actions", np.ones((STEPS, 7), np.int8), compression="gzip")
    change(path, "obs/agentview_rgb", np.full((STEPS, SIZE, SIZE, 3), 7, np.uint8), compression="gzip")
    dataset = load(path)
    assert (dataset.actions_MCA[STEPS:] == 1).all() and (dataset.agentview_MHWC[STEPS:] == 7).all()


def test_demonstrations_come_in_the_order_of_their_numbers_with_gaps(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["data"].move("demo_1", "demo_10")
        file["data"].copy("demo_10", "demo_2")
        file["data/demo_2/obs/agentview_rgb"][...] = 2
    assert load(path).agentview_MHWC[::STEPS, 0, 0, 0].tolist() == [0, 2, 1]


@pytest.mark.parametrize("name", ["demo_x0", "demo_-1", "demo", "demo_1_copy", "episode_1"])
def test_what_looks_like_a_demonstration_of_another_name_is_not_left_out_in_silence(path: Path, name: str) -> None:
    with h5py.File(path, "r+") as file:
        file["data"].move("demo_1", name)
    with pytest.raises(CheckpointError, match=rf"data/{name} is not a group with a name like demo_0"):
        load(path)


def test_a_dataset_is_not_a_demonstration(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["data/demo_2"] = np.zeros(3)
    with pytest.raises(CheckpointError, match="data/demo_2 is not a group"):
        load(path)


def test_one_step_is_a_decision_only_if_it_was_seen_before_its_action(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        for demo in file["data"].values():
            for name in ("actions", "obs/ee_states", "obs/gripper_states", "obs/agentview_rgb", "obs/eye_in_hand_rgb"):
                rows = demo[name][:1]
                del demo[name]
                demo[name] = rows
    assert load(path).actions_MCA[:, 0, 0].tolist() == [0.0, 0.25]
    with pytest.raises(CheckpointError, match="one row seen after its only action"):
        load(path, rows="after")


@pytest.mark.parametrize("value", ["whenever", b"\xff", 3, np.arange(3), ""])
def test_an_unknown_value_of_the_attribute_is_refused(path: Path, value: object) -> None:
    with h5py.File(path, "r+") as file:
        file["data"].attrs["observation_row"] = value
    with pytest.raises(
        CheckpointError, match=r"attribute observation_row .* 'before its action' or 'after its action'"
    ):
        load(path)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"controller": "OSC_POSE"}, None),  # ours
        ({"controller_configs": {"type": "OSC_POSE", "control_delta": True, "kp": 150}}, None),  # LIBERO's
        ({"controller_configs": [1]}, None),
        ([], None),
        ({"controller": "IK_POSE"}, "whose type is IK_POSE"),
        ({"controller_configs": {"type": "OSC_POSE", "control_delta": False}}, "whose control_delta is False"),
        ({"controller_configs": {"output_max": [0.1] * 6}}, r"whose output_max is \[0.1, "),
    ],
)
def test_actions_of_another_controller_are_refused(path: Path, options: object, said: str | None) -> None:
    with h5py.File(path, "r+") as file:
        file["data"].attrs["env_args"] = json.dumps({"env_kwargs": options})
    if said is None:
        assert len(load(path)) == 2 * STEPS
        return
    with pytest.raises(CheckpointError, match=rf"demos\.hdf5 was recorded with a controller {said}.* LIBERO's own"):
        load(path)


@pytest.mark.parametrize(
    "problem", [None, "{", "[" * 100_000, json.dumps([]), json.dumps({"language_instruction": 3}), 7]
)
def test_a_file_without_words_needs_them_from_its_reader(path: Path, problem: str | int | None) -> None:
    with h5py.File(path, "r+") as file:
        if problem is not None:
            file["data"].attrs["problem_info"] = problem[:60_000] if isinstance(problem, str) else problem
    with pytest.raises(CheckpointError, match="names no language_instruction; give the instruction"):
        load(path, instruction=None)
    assert load(path).instructions == ("x",)


def test_files_that_are_something_else_are_refused_by_name(tmp_path: Path, path: Path) -> None:
    whole = path.read_bytes()
    for name, content in (("text.hdf5", b"hello"), ("empty.hdf5", b""), ("cut.hdf5", whole[: len(whole) // 3])):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CheckpointError, match=rf"{name} is not a readable HDF5 file"):
            load(tmp_path / name)
    with pytest.raises(CheckpointError, match=r"is not a readable HDF5 file"):
        load(tmp_path)
    with h5py.File(tmp_path / "flat.hdf5", "w") as file:
        file["data"] = np.zeros(3)
    with pytest.raises(CheckpointError, match=r"flat\.hdf5 has no group data"):
        load(tmp_path / "flat.hdf5")


def test_a_damaged_block_shows_while_it_is_read(path: Path) -> None:
    change(path, "obs/agentview_rgb", np.zeros((STEPS, SIZE, SIZE, 3), np.uint8), compression="gzip", fletcher32=True)
    with h5py.File(path, "r") as file:
        where = file["data/demo_1/obs/agentview_rgb"].id.get_chunk_info(0).byte_offset
    content = bytearray(path.read_bytes())
    content[where + 4] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"demos\.hdf5 is not a readable HDF5 file"):
        load(path)
