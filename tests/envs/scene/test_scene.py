"""Scenes are built once, survive damage and races, and move to machines that have neither LIBERO nor robosuite."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tgrpo_envs.assets import find_pack
from tgrpo_envs.errors import SceneError, StateError
from tgrpo_envs.scene import Scene, load_scene, official_states, open_scene
from tgrpo_envs.scene import scene as scene_module
from tgrpo_envs.scene.files import DRAWN_FILE, EXACT_FILE, MODEL_FILE, RECORD_FILE, STATES_FILE
from tgrpo_envs.tasks import get_task

TASK = get_task("libero_object", 0)
SMALL = 0.03  # metres


@pytest.fixture(scope="module")
def scene() -> Scene:
    return load_scene(TASK, "primitive")


@pytest.fixture
def copied(scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The scene in a cache of its own; building another one fails the test."""
    folder = tmp_path / scene.folder.relative_to(scene.folder.parents[2])
    shutil.copytree(scene.folder, folder)
    monkeypatch.setenv("TGRPO_CACHE", str(tmp_path))

    def refuse(*_: object) -> None:
        pytest.fail("the scene in the cache was not used")

    monkeypatch.setattr(scene_module, "_build", refuse)
    return folder


def test_the_layout_names_what_the_task_file_names(scene: Scene) -> None:
    assert set(scene.layout.objects) == set(scene.problem.objects)
    assert scene.layout.num_movables == len(scene.problem.objects)
    assert "basket_1_contain_region" in scene.layout.sites
    site = scene.layout.site_row("basket_1_contain_region")
    assert scene.layout.site_parents_S[site] == scene.layout.object_row("basket_1")
    for entry in scene.record.objects:
        assert scene.model.body(entry.body).name == f"{entry.name}_main"
        assert {scene.model.geom_bodyid[geom] for geom in entry.geoms} <= set(range(entry.body, scene.model.nbody))


def test_a_scene_in_the_cache_is_used(copied: Path, scene: Scene) -> None:
    assert load_scene(TASK, "primitive").folder == copied


def test_a_copied_scene_runs_without_libero_and_robosuite(copied: Path) -> None:
    """In a process where importing either fails, as on a machine that never had them."""
    program = f"""
import sys
for name in ("libero", "robosuite", "bddl"):
    sys.modules[name] = None
import importlib.util
find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name, *args: None if name == "libero" else find_spec(name, *args)
import numpy as np
from tgrpo_envs.scene import load_scene, official_states, sample_train_states
from tgrpo_envs.sim.simulator import Simulator
from tgrpo_envs.tasks import get_task
scene = load_scene(get_task("libero_object", 0), "primitive")
assert str(scene.folder) == {str(copied)!r}
simulator = Simulator(scene, 1)
for states in (official_states(scene), sample_train_states(scene, np.random.default_rng(0), 1)):
    simulator.reset(states.take(np.array([0])), np.ones(1, dtype=bool))
assert not simulator.step(np.zeros((1, 7)), np.ones(1, dtype=bool)).any()
simulator.close()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flip_a_byte(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0xFF
    file.write_bytes(bytes(data))


def change_format(file: Path) -> None:
    record = json.loads(file.read_text())
    file.write_text(json.dumps({**record, "format_version": 0}))


def change_bddl(file: Path) -> None:
    record = json.loads(file.read_text())
    file.write_text(json.dumps({**record, "bddl": record["bddl"].replace("0.25", "0.26")}))


def change_first_object(file: Path, **changes: object) -> None:
    record = json.loads(file.read_text())
    record["objects"][0] |= changes
    file.write_text(json.dumps(record))


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        (RECORD_FILE, lambda file: change_first_object(file, body=10**6)),
        (RECORD_FILE, lambda file: change_first_object(file, qpos_address=-1)),
        (RECORD_FILE, lambda file: change_first_object(file, radius=float("nan"))),
        (RECORD_FILE, lambda file: change_first_object(file, name="nobody")),
        (MODEL_FILE, truncate),
        (MODEL_FILE, flip_a_byte),
        (MODEL_FILE, Path.unlink),
        (RECORD_FILE, truncate),
        (RECORD_FILE, Path.unlink),
        (RECORD_FILE, change_format),
        (RECORD_FILE, change_bddl),
    ],
)
def test_a_damaged_scene_is_built_anew(
    copied: Path, scene: Scene, name: str, damage: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    damage(copied / name)
    rebuilt = []

    def build(_task: object, _pack: object, folder: Path) -> None:
        assert not folder.exists()
        rebuilt.append(shutil.copytree(scene.folder, folder))

    monkeypatch.setattr(scene_module, "_build", build)
    with pytest.warns(UserWarning, match=r"scene|model\.mjb"):
        loaded = load_scene(TASK, "primitive")
    assert rebuilt == [copied]
    assert loaded.digest == scene.digest


def test_damaged_states_and_drawings_are_named(copied: Path) -> None:
    for name, read in (
        (STATES_FILE, official_states),
        (DRAWN_FILE, lambda scene: scene.drawn_model),
        (EXACT_FILE, lambda scene: scene.exact_model),
    ):
        truncate(copied / name)
        with pytest.raises(SceneError, match=name):
            read(open_scene(copied))


def test_a_drawing_of_another_scene_is_not_drawn(copied: Path) -> None:
    """OpenGL would show its geoms at the numbers of this scene's bodies."""
    content = bytearray((copied / DRAWN_FILE).read_bytes())
    content[-1] ^= 1
    (copied / DRAWN_FILE).write_bytes(content)
    with pytest.raises(SceneError, match=r"digest is wrong"):
        open_scene(copied).drawn_model  # noqa: B018


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_official_states_are_finite(copied: Path, value: float) -> None:
    states_NX = np.load(copied / STATES_FILE)
    states_NX[7, 3] = value
    np.save(copied / STATES_FILE, states_NX)
    with pytest.raises(StateError, match="NaN or infinity"):
        official_states(open_scene(copied))


@pytest.mark.slow
def test_two_processes_may_build_at_once(tmp_path: Path) -> None:
    program = (
        "from tgrpo_envs.scene import load_scene; from tgrpo_envs.tasks import get_task; "
        "print(load_scene(get_task('libero_object', 1), 'primitive').digest)"
    )
    environment = {"TGRPO_CACHE": str(tmp_path), "PATH": "/usr/bin:/bin"}
    runs = [
        subprocess.Popen([sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    digests = [run.communicate()[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0]
    assert digests[0] == digests[1] != ""
    left = [path.name for path in (tmp_path / "scenes/libero_object").iterdir()]
    assert len(left) == 1, left


def test_a_build_that_fails_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TGRPO_CACHE", str(tmp_path / "cache"))
    pack = find_pack("primitive").folder
    broken = shutil.copytree(pack, tmp_path / "broken")
    for file in broken.rglob("*basket*.xml"):
        file.write_text("<mujoco><worldbody/></mujoco>")
    with pytest.raises(SceneError, match=r"(?s)Building .* failed:.*Error"):
        load_scene(TASK, broken)
    assert not list((tmp_path / "cache/scenes").rglob("model.mjb"))


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ("3.2.6", "older"),
        ("3.2.7", None),
        ("3.3.2", None),
        ("3.3.3", "darker"),
        ("3.4.0", "contacts"),
        ("3.10", "contacts"),
    ],
)
def test_versions_that_differ_are_named(version: str, words: str | None) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        scene_module._check_mujoco_version(version)
    assert [words is not None and words in str(entry.message) for entry in caught] == ([True] if words else [])


def test_the_drawn_model_follows_the_scene(scene: Scene) -> None:
    model, drawn = scene.exact_model, scene.drawn_model
    assert drawn.ngeom <= 30 < 60 < (model.geom_group == 1).sum()
    assert drawn.nmeshface < model.nmeshface / 10
    assert (drawn.nq, drawn.nbody, drawn.nsite, drawn.ncam) == (0, model.nbody, model.nsite, model.ncam)
    # The hand is drawn with all its parts at the places that they have in the model.
    hand = model.body("gripper0_right_gripper").id
    (geom,) = np.flatnonzero(drawn.geom_bodyid == hand)
    mesh = int(model.geom_dataid[model.geom("gripper0_hand_visual").id])
    whole = model.mesh_vert[model.mesh_vertadr[mesh] : model.mesh_vertadr[mesh] + model.mesh_vertnum[mesh]]
    mesh = int(drawn.geom_dataid[geom])
    shown = drawn.mesh_vert[drawn.mesh_vertadr[mesh] : drawn.mesh_vertadr[mesh] + drawn.mesh_vertnum[mesh]]
    np.testing.assert_allclose(np.ptp(shown, axis=0).max(), np.ptp(whole, axis=0).max(), atol=SMALL)
