"""Demonstration files of every layout, spoilt at random: each row gets its own action, or the file is refused."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import cast

import h5py
import numpy as np
import pytest

from tests.helpers.demo_layouts import PICTURES, Contents, Demo, lay_out, read_marked, wrong_rows
from tgrpo_envs.errors import CheckpointError
from tgrpo_envs.expert.demos import record_demonstrations
from tgrpo_trainer.bc.dataset import load_demonstrations
from tgrpo_trainer.bc.demo_layout import FLIPS
from tgrpo_trainer.config import Pictures

SIZE = 32
TASKS = (("libero_object", 0), ("libero_goal", 1), ("libero_spatial", 0))
LAYOUTS = ("ours", "no_noops", "libero")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> list[list[Demo]]:
    """Demonstrations of three suites."""
    found = []
    for suite, task in TASKS:
        path = tmp_path_factory.mktemp("recorded") / f"{suite}.hdf5"
        record_demonstrations(suite, task, 3, path, image_size=SIZE, assets="primitive", progress=False)
        found.append(read_marked(path))
    return found


def any_demo(contents: Contents, rng: np.random.Generator) -> Demo:
    return contents.demos[str(rng.choice(list(contents.demos)))]


def any_field(demo: Demo, rng: np.random.Generator, *names: str) -> str:
    return str(rng.choice([name for name in names or demo if name in demo]))


def shift_actions(contents: Contents, rng: np.random.Generator) -> None:
    demos = [any_demo(contents, rng)] if rng.random() < 0.5 else list(contents.demos.values())
    shift = int(rng.choice([-2, -1, 1, 2]))
    early, late = slice(abs(shift), None), slice(None, -abs(shift))
    for demo in demos:
        for name in demo:
            demo[name] = demo[name][early if (shift > 0) == name.endswith("actions") else late]


def shift_labels(contents: Contents, rng: np.random.Generator) -> None:
    demo = any_demo(contents, rng)
    demo["expert_actions"] = np.roll(demo["expert_actions"], int(rng.choice([-2, -1, 1, 2])), axis=0)


def lie_about_rows(contents: Contents, rng: np.random.Generator) -> None:
    contents.attributes["observation_row"] = str(rng.choice(["before its action", "after its action", "now", ""]))


def lie_about_pictures(contents: Contents, rng: np.random.Generator) -> None:
    contents.attributes["macros_image_convention"] = str(rng.choice(["opengl", "opencv", "OpenGL"]))


def forget_attributes(contents: Contents, rng: np.random.Generator) -> None:
    contents.attributes.clear()


def mix_layouts(contents: Contents, rng: np.random.Generator) -> None:
    """One demonstration's rows come a step later than the others'."""
    demo = any_demo(contents, rng)
    for name in demo:
        demo[name] = demo[name][1:] if name.startswith("obs/") else demo[name][:-1]


def cut_a_field(contents: Contents, rng: np.random.Generator) -> None:
    demo = any_demo(contents, rng)
    name = any_field(demo, rng)
    demo[name] = demo[name][: -int(rng.integers(1, 5))]


def drop_a_field(contents: Contents, rng: np.random.Generator) -> None:
    demo = any_demo(contents, rng)
    del demo[any_field(demo, rng)]


def keep_ee_states_only(contents: Contents, rng: np.random.Generator) -> None:
    for demo in contents.demos.values():
        for name in ("obs/ee_pos", "obs/ee_ori", "obs/proprio"):
            demo.pop(name, None)


def put_in_nonsense(contents: Contents, rng: np.random.Generator) -> None:
    demo = any_demo(contents, rng)
    name = any_field(demo, rng, "actions", "expert_actions", "obs/ee_pos", "obs/ee_ori", "obs/proprio")
    demo[name] = demo[name].copy()
    demo[name][rng.integers(len(demo[name])), 0] = rng.choice([np.nan, np.inf, -np.inf, 1e30])


def scale_a_field(contents: Contents, rng: np.random.Generator) -> None:
    name, factor = [("actions", 1.5), ("obs/ee_pos", 1000.0), ("obs/ee_ori", 57.3)][rng.integers(3)]
    for demo in contents.demos.values():
        demo[name] = demo[name] * factor


def store_another_type(contents: Contents, rng: np.random.Generator) -> None:
    name, kind = any_field(any_demo(contents, rng), rng), str(rng.choice(["f2", "f4", "S8", "c16", "?"]))
    for demo in contents.demos.values():
        if name in demo and not (name in ("actions", "expert_actions") and kind == "f2"):
            demo[name] = demo[name].astype(kind)


def store_other_pictures(contents: Contents, rng: np.random.Generator) -> None:
    change: Callable[[np.ndarray], np.ndarray] = [
        lambda p: p.astype(np.float32) / 255,
        lambda p: np.concatenate([p, np.full_like(p[..., :1], 255)], axis=-1),
        lambda p: np.moveaxis(p, -1, 1),
        lambda p: p[:, 1:],
        lambda p: p[..., 0],
        lambda p: p[:, ::2, ::2],
    ][rng.integers(6)]
    for demo in contents.demos.values():
        name = str(rng.choice(PICTURES))
        demo[name := f"obs/{name}"] = change(demo[name])


def turn_one_camera(contents: Contents, rng: np.random.Generator) -> None:
    name = f"obs/{rng.choice(PICTURES)}"
    for demo in contents.demos.values():
        demo[name] = demo[name][:, ::-1]


def change_action_size(contents: Contents, rng: np.random.Generator) -> None:
    for demo in contents.demos.values():
        demo["actions"] = demo["actions"][:, :6] if rng.random() < 0.5 else np.pad(demo["actions"], ((0, 0), (0, 1)))


def store_openvla_gripper(contents: Contents, rng: np.random.Generator) -> None:
    for demo in contents.demos.values():
        demo["actions"] = demo["actions"].copy()
        demo["actions"][:, 6] = demo["actions"][:, 6] < 0


def shorten(contents: Contents, rng: np.random.Generator) -> None:
    demo, steps = any_demo(contents, rng), int(rng.integers(0, 13))
    for name in demo:
        demo[name] = demo[name][:steps]


def rename(contents: Contents, rng: np.random.Generator) -> None:
    old = str(rng.choice(list(contents.demos)))
    contents.demos[str(rng.choice(["demo_x0", "demo_10", "demo", "demo_-1", "episode_0"]))] = contents.demos.pop(old)


def compress(contents: Contents, rng: np.random.Generator) -> None:
    contents.compression = "gzip"


def hold_still(contents: Contents, rng: np.random.Generator) -> None:
    for demo in contents.demos.values():
        for name in ("obs/ee_pos", "obs/ee_states", "obs/proprio"):
            if name in demo:
                demo[name] = np.repeat(demo[name][:1], len(demo[name]), axis=0)


SPOILT: tuple[Callable[[Contents, np.random.Generator], None], ...] = (
    shift_actions, shift_labels, lie_about_rows, lie_about_pictures, forget_attributes, mix_layouts, cut_a_field,
    drop_a_field, keep_ee_states_only, put_in_nonsense, scale_a_field, store_another_type, store_other_pictures,
    turn_one_camera, change_action_size, store_openvla_gripper, shorten, rename, compress, hold_still,
)  # fmt: skip
# A file may say what nothing in it can show to be false: a shift in an arm that stands still or in twelve rows. Nobody
# can tell, so these are not combined.
BLINDING = {hold_still, shorten, scale_a_field, put_in_nonsense}
DECEIVING = {shift_actions, shift_labels, lie_about_rows, lie_about_pictures, mix_layouts, turn_one_camera}


def spoilt_file(demos: list[Demo], rng: np.random.Generator, path: Path) -> tuple[int, list[str]]:
    """Write one, and say how many rows went in and what was done."""
    layout, pictures = str(rng.choice(LAYOUTS)), cast(Pictures, str(rng.choice(list(FLIPS))))
    contents = lay_out(demos[: int(rng.integers(1, 4))], layout, "opengl" if layout == "ours" else pictures)
    rows = sum(len(demo["actions"]) for demo in contents.demos.values())
    count = int(rng.choice([0, 1, 2], p=[0.2, 0.4, 0.4]))
    chosen = [SPOILT[index] for index in sorted(rng.choice(len(SPOILT), count, replace=False))]
    if BLINDING & set(chosen) and DECEIVING & set(chosen):
        chosen = chosen[:1]
    done = [layout]
    for spoil in chosen:
        try:
            spoil(contents, rng)
        except (KeyError, IndexError, ValueError, TypeError):
            continue  # an earlier one took away what this one changes
        done.append(spoil.__name__)
    contents.write(path)
    if rng.random() < 0.03:
        whole = path.read_bytes()
        path.write_bytes(whole[: rng.integers(len(whole))])
        done.append("cut_the_file")
    return rows, done


def fuzz(recorded: list[list[Demo]], folder: Path, least_rows: int, seed: int) -> Counter[str]:
    """Count what became of so many rows; every row that is read has its own action."""
    rng, counts = np.random.default_rng(seed), Counter[str]()
    path = folder / "spoilt.hdf5"
    while counts["rows"] < least_rows:
        demos = recorded[rng.integers(len(recorded))]
        rows, done = spoilt_file(demos, rng, path)
        counts["rows"] += rows
        counts["files"] += 1
        try:
            dataset = load_demonstrations(path, action_chunk=3, image_size=SIZE, instruction="x")
        except CheckpointError as error:
            counts["files refused without their name"] += str(path) not in str(error)
            counts["files refused"] += 1
            counts["rows refused"] += rows
            counts["untouched files refused"] += len(done) == 1
            continue
        # Numbers of half precision are as near as that.
        labels = "expert_actions" if "expert_actions" in dataset_fields(path) else "actions"
        wrong = wrong_rows(dataset, demos, labels, tolerance=2e-3, posed="hold_still" not in done)
        assert wrong == 0, (done, dataset.layout)
        counts["rows read"] += len(dataset)
    return counts


def dataset_fields(path: Path) -> set[str]:
    with h5py.File(path) as file:
        return set.intersection(*(set(demo) for demo in file["data"].values()))


def test_spoilt_files_are_read_right_or_refused(recorded: list[list[Demo]], tmp_path: Path) -> None:
    counts = fuzz(recorded, tmp_path, least_rows=8_000, seed=1)
    assert counts["untouched files refused"] == counts["files refused without their name"] == 0
    assert counts["rows read"] > 1_000 and counts["rows refused"] > 1_000


@pytest.mark.slow
def test_a_hundred_thousand_spoilt_rows(
    recorded: list[list[Demo]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Prints the numbers of docs/results-checks.md."""
    began = time.perf_counter()
    counts = fuzz(recorded, tmp_path, least_rows=100_000, seed=2)
    with capsys.disabled():
        print(f"\n{dict(sorted(counts.items()))} in {time.perf_counter() - began:.0f} s")
    assert counts["untouched files refused"] == counts["files refused without their name"] == 0
