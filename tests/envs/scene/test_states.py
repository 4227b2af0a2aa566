"""Initial states: LIBERO's own read safely, draws with LIBERO's distribution, a held-out set that never changes."""

from __future__ import annotations

import hashlib
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tgrpo_envs.assets import find_pack
from tgrpo_envs.errors import StateError
from tgrpo_envs.scene import HELDOUT_COUNT, Scene, heldout_states, load_scene, official_states, sample_train_states
from tgrpo_envs.scene.build import official_env
from tgrpo_envs.scene.init_files import read_init_file
from tgrpo_envs.scene.sampler import StateSampler
from tgrpo_envs.tasks import get_task, init_states_path, list_tasks

TASK = get_task("libero_object", 0)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return load_scene(TASK, "primitive")


def test_official_states_are_the_files(scene: Scene) -> None:
    torch = pytest.importorskip("torch")
    expected = torch.load(init_states_path(TASK), weights_only=False)
    assert np.array_equal(official_states(scene).states_NX, expected)
    assert len(official_states(scene)) == 50


def test_every_tasks_file_can_be_read() -> None:
    for task in list_tasks():
        states_NX = read_init_file(init_states_path(task))
        assert states_NX.shape[0] == 50
        assert np.isfinite(states_NX).all()


class Harmful:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("/tmp/harm"),)  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (pickle.dumps(Harmful()), "only numpy arrays"),
        (pickle.dumps({"a": 1}), "table of numbers"),
        (pickle.dumps(np.full((50, 3), np.nan)), "NaN"),
        (b"\x80\x02garbage", "not a LIBERO"),
    ],
)
def test_files_that_are_not_states_are_refused(tmp_path: Path, payload: bytes, message: str) -> None:
    path = tmp_path / "states.pruned_init"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", payload)
    with pytest.raises(StateError, match=message):
        read_init_file(path)


def test_a_file_that_is_no_zip_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "states.pruned_init"
    path.write_bytes(b"no zip")
    with pytest.raises(StateError, match="Install hf-libero"):
        read_init_file(path)


def test_draws_follow_liberos_reset(scene: Scene) -> None:
    """Heights and rotations are constants of LIBERO's rules here, so they must be equal; the rest by range and mean."""
    env = official_env(TASK, find_pack("primitive").folder)
    env.seed(0)
    official_NX = []
    for _ in range(6):
        env.reset()
        official_NX.append(env.get_sim_state())
    sampler, rng = StateSampler(scene, whole_regions=False), np.random.default_rng(0)
    ours_NX = np.array([sampler.draw(rng)[0] for _ in range(400)])
    official = np.array(official_NX)
    for entry in scene.record.objects:
        assert entry.qpos_address is not None
        at = 1 + entry.qpos_address
        assert np.abs(ours_NX[:, at + 2 : at + 7] - official[0, at + 2 : at + 7]).max() < 1e-7
        region = scene.problem.regions[next(i[2] for i in scene.problem.init if i[1] == entry.name)]
        # LIBERO insets by the object's radius; where that turns the interval over it draws between its ends.
        for axis in (0, 1):
            edges = [region.ranges[0][axis] + entry.radius, region.ranges[0][axis + 2] - entry.radius]
            low, high = min(edges) - 1e-9, max(edges) + 1e-9
            for states in (ours_NX, official):
                assert ((states[:, at + axis] >= low) & (states[:, at + axis] <= high)).all()
            assert abs(ours_NX[:, at + axis].mean() - np.mean(edges)) < 0.15 * (high - low) + 1e-9
            assert np.ptp(ours_NX[:, at + axis]) >= 0.9 * (max(edges) - min(edges))
    starts = [entry.qpos_address for entry in scene.record.objects if entry.qpos_address is not None]
    placed = [1 + start + k for start in starts for k in range(7)]
    rest = np.delete(np.arange(ours_NX.shape[1]), placed)
    assert np.abs(ours_NX[:, rest] - official[0, rest]).max() < 1e-12


def test_training_draws_fill_the_whole_region(scene: Scene) -> None:
    """The soup's region is 5 cm wide, of which LIBERO's reset leaves one point."""
    soup = next(entry for entry in scene.record.objects if entry.name == "alphabet_soup_1")
    assert soup.qpos_address is not None
    (x0, y0, x1, y1) = scene.problem.regions["floor_target_object_region"].ranges[0]
    xy_N2 = sample_train_states(scene, np.random.default_rng(0), 300).states_NX[:, 1 + soup.qpos_address :][:, :2]
    assert (xy_N2 >= [x0, y0]).all() and (xy_N2 <= [x1, y1]).all()
    # A uniform number on an interval of length L has mean 0 from its centre and standard deviation L / sqrt(12).
    assert np.abs(xy_N2.mean(0) - [(x0 + x1) / 2, (y0 + y1) / 2]).max() < 0.003
    assert np.abs(xy_N2.std(0) - 0.05 / np.sqrt(12)).max() < 0.0015


def test_draws_depend_on_the_generator_alone(scene: Scene) -> None:
    def draw(seed: int) -> np.ndarray:
        return sample_train_states(scene, np.random.default_rng(seed), 3).states_NX

    assert np.array_equal(draw(1), draw(1))
    assert not np.array_equal(draw(1), draw(2))


def test_held_out_states_never_change(scene: Scene) -> None:
    states_NX = heldout_states(scene).states_NX
    assert states_NX.shape == (HELDOUT_COUNT, 110)
    assert len(np.unique(states_NX, axis=0)) == HELDOUT_COUNT
    rounded = np.round(states_NX, 9) + 0.0
    assert hashlib.sha256(rounded.tobytes()).hexdigest()[:16] == "afd0fad80fa0cdb6"


OTHER_RULES = [
    ("libero_spatial", 1),
    ("libero_spatial", 3),
    ("libero_goal", 3),
    ("libero_10", 3),
    ("libero_10", 9),
    ("libero_90", 30),
]


@pytest.mark.libero
@pytest.mark.slow
@pytest.mark.parametrize(("suite", "task"), OTHER_RULES)
def test_draws_of_other_suites_follow_liberos_reset(suite: str, task: int) -> None:
    """Objects on objects, in drawers and on sites, turned fixtures, opened joints: means and spreads agree."""
    entry = get_task(suite, task)
    scene = load_scene(entry, "libero")
    env = official_env(entry, find_pack("libero").folder)
    env.seed(0)
    bodies, rows = list(scene.fixture_bodies), []
    for _ in range(15):
        env.reset()
        model = env.sim.model._model
        poses = np.hstack([model.body_pos[bodies], model.body_quat[bodies]])
        rows.append(np.concatenate([env.get_sim_state(), poses.ravel()]))
    official = np.array(rows)
    sampler, rng = StateSampler(scene, whole_regions=False), np.random.default_rng(0)
    draws = [sampler.draw(rng) for _ in range(300)]
    ours = np.array([np.concatenate([state, poses.ravel()]) for state, poses in draws])
    spread = ours.std(axis=0)
    slack = 1e-6 + 0.02 * np.ptp(ours, axis=0)
    assert (official >= ours.min(axis=0) - slack).all()
    assert (official <= ours.max(axis=0) + slack).all()
    assert (np.abs(official.mean(axis=0) - ours.mean(axis=0)) < 1e-6 + 4.5 * spread / np.sqrt(15)).all()
    assert (official.std(axis=0) > 0.4 * spread - 1e-6).all()
