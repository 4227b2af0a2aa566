"""Recorded episodes: scored again they pay what the live environment paid, and a damaged file is one clear error."""

from __future__ import annotations

import dataclasses
import io
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tgrpo_envs.__main__ import main
from tgrpo_envs.errors import ConfigError, StateError, UnknownNameError
from tgrpo_envs.recording.episode_file import Episode
from tgrpo_envs.recording.play import draw_frames, initial_state, record_episode, show
from tgrpo_envs.rewards import CreditProfile, choose_spec, rescore
from tgrpo_envs.scene import Scene, load_scene
from tgrpo_envs.tasks import bddl_path, get_task, task_from_text

ENV_ID = "tgrpo_envs:TGRPO-LiberoObject-v0"
SEED = 11


@pytest.fixture(scope="module")
def scene() -> Scene:
    return load_scene(get_task("libero_object", 0), "primitive")


@pytest.fixture(scope="module")
def episode(scene: Scene) -> Episode:
    return record_episode(scene, initial_state(scene, "train", index=0, seed=SEED), "expert")


def test_rescoring_pays_what_the_live_environment_paid(scene: Scene, episode: Episode) -> None:
    env = gym.make(ENV_ID, assets="primitive", cameras=())
    env.reset(seed=SEED)
    live = [env.step(action.astype(np.float32)) for action in episode.actions_TA]
    env.close()
    spec = choose_spec("stages", scene.problem, scene.task)
    score = rescore(spec, episode.layout, episode.snapshots, episode.goal_MC, horizon=episode.info.horizon)
    assert episode.success
    assert live[-1][2]
    # Gymnasium's actions are float32, so the two simulations differ in their last digits; paid progress is rounded.
    assert np.allclose(score.rewards_T, [float(step[1]) for step in live], atol=1e-9)
    assert np.array_equal(score.stages_TK, [step[4]["stages"] for step in live])
    assert score.episode_return == pytest.approx(1.0)
    assert score.first_done()[-1] == len(episode)


def test_a_sparse_reward_of_the_same_file_pays_success_alone(scene: Scene, episode: Episode) -> None:
    spec = choose_spec("sparse", scene.problem, scene.task)
    profile = CreditProfile(mode="sparse")
    score = rescore(
        spec, episode.layout, episode.snapshots, episode.goal_MC, horizon=episode.info.horizon, profile=profile
    )
    assert score.rewards_T[:-1].tolist() == [0.0] * (len(episode) - 1)
    assert score.rewards_T[-1] == 1.0


def test_showing_a_failure_under_a_sparse_reward_pays_nothing(scene: Scene, episode: Episode) -> None:
    last = len(episode) - 1  # the recording without its successful step
    failure = dataclasses.replace(
        episode,
        states_MX=episode.states_MX[: last + 1],
        actions_TA=episode.actions_TA[:last],
        snapshots=episode.snapshots.take(slice(last + 1)),
        goal_MC=episode.goal_MC[: last + 1],
    )
    assert "no success" in show(failure, scene, "sparse")
    assert "return 0.000" in show(failure, scene, "sparse")
    assert "return 0.4" in show(failure, scene, "stages")


def test_a_file_gives_back_the_episode(episode: Episode, tmp_path: Path) -> None:
    path = tmp_path / "new" / "episode.npz"
    episode.save(path)
    again = Episode.load(path)
    assert again.info == episode.info
    assert again.layout.objects == episode.layout.objects
    for part in ("layout", "snapshots"):
        for field in dataclasses.fields(getattr(episode, part)):
            assert np.array_equal(
                getattr(getattr(again, part), field.name), getattr(getattr(episode, part), field.name)
            )
    for name in ("states_MX", "fixtures_F7", "actions_TA", "goal_MC"):
        assert np.array_equal(getattr(again, name), getattr(episode, name))
    assert [file.name for file in path.parent.iterdir()] == ["episode.npz"]
    assert path.stat().st_size < 1500 * len(again.states_MX)  # bytes: compact


def test_pictures_of_a_recording_are_those_of_the_reset(scene: Scene, episode: Episode) -> None:
    env = gym.make(ENV_ID, assets="primitive", image_size=64)
    observation, _ = env.reset(seed=SEED)
    env.close()
    frames_MHWC = draw_frames(dataclasses.replace(episode, states_MX=episode.states_MX[:1]), scene, 64)
    live_HWC = np.concatenate([observation["agentview"], observation["wrist"]], axis=1)
    assert frames_MHWC.shape == (1, 64, 128, 3)
    # A recorded state is shown with fresh kinematics, the live one with those of the last substep: 2 ms apart.
    assert np.abs(frames_MHWC[0].astype(int) - live_HWC).mean() < 0.5


@pytest.fixture(scope="module")
def content(episode: Episode, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("episode") / "episode.npz"
    short = dataclasses.replace(
        episode,
        states_MX=episode.states_MX[:3],
        actions_TA=episode.actions_TA[:2],
        goal_MC=episode.goal_MC[:3],
        snapshots=episode.snapshots.take(slice(3)),
    )
    short.save(path)
    return path.read_bytes()


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_damaged_file_loads_or_is_one_clear_error(
    content: bytes, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    damaged = bytearray(content[: data.draw(st.integers(0, len(content)))])
    for _ in range(data.draw(st.integers(0, 3)) if damaged else 0):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.npz"
    path.write_bytes(bytes(damaged))
    try:
        loaded = len(Episode.load(path))
    except StateError as error:
        said = str(error)
        assert str(path) in said
    else:  # damage that hit no content
        assert loaded == 2


def test_damage_inside_compressed_data_is_one_clear_error(content: bytes, tmp_path: Path) -> None:
    name_and_extra = sum(struct.unpack_from("<HH", content, 26))  # lengths in the first member's ZIP header
    damaged = bytearray(content)
    damaged[30 + name_and_extra] = 0  # now a "stored" block, with lengths that do not fit
    path = tmp_path / "episode.npz"
    path.write_bytes(bytes(damaged))
    with pytest.raises(StateError, match="stored block"):
        Episode.load(path)


def replace_array(content: bytes, name: str, value: np.ndarray) -> bytes:
    with np.load(io.BytesIO(content)) as file:
        arrays = {key: file[key] for key in file.files}
    assert name in arrays
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{**arrays, name: value})
    return buffer.getvalue()


def test_an_episode_is_shown_under_the_text_it_was_recorded_under_as_far_as_it_says(
    content: bytes, scene: Scene, tmp_path: Path
) -> None:
    """Versions up to 0.12.0 did not say it."""
    path = tmp_path / "episode.npz"
    with np.load(io.BytesIO(content)) as file:
        header = json.loads(bytes(file["header"]))
    del header["bddl_digest"]
    path.write_bytes(replace_array(content, "header", np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)))
    text = bddl_path(get_task("libero_object", 0)).read_text(encoding="utf-8")
    own = dataclasses.replace(scene, task=task_from_text("soup", text))
    earlier = Episode.load(path)
    remarked = task_from_text("soup", f"; a remark\n{text}").bddl_digest
    other = task_from_text("soup", text.replace("(In alphabet_soup_1", "(In milk_1")).bddl_digest
    for digest in ("", own.task.bddl_digest, remarked):
        assert "no success" in show(of_text(earlier, digest), own, "stages")
    with pytest.raises(ConfigError, match=r"another text of soup\.bddl, .* or record the episode again"):
        show(of_text(earlier, other), own, "stages")


def of_text(episode: Episode, digest: str) -> Episode:
    return dataclasses.replace(episode, info=episode.info.model_copy(update={"bddl_digest": digest}))


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("actions_TA", np.zeros((5, 7)), "states_MX"),
        ("actions_TA", np.full((2, 7), np.nan), "NaN"),
        ("actions_TA", np.zeros(2), "actions_TA"),
        ("snapshot.touch_NO", np.zeros((3, 1), dtype=bool), "touch_NO"),
        ("goal_MC", np.zeros((3, 1)), "goal_MC"),
        ("layout.site_parents_S", np.full(1, 99), "site_parents_S"),
        ("header", np.frombuffer(b'{"format": "tgrpo-episode/1"}', dtype=np.uint8), "suite: Field required"),
        ("header", np.frombuffer(b'{"format": "tgrpo-episode/0"}', dtype=np.uint8), "not of this version"),
        ("header", np.frombuffer(b"not json", dtype=np.uint8), "header"),
    ],
)
def test_arrays_that_do_not_fit_are_named(
    content: bytes, name: str, value: np.ndarray, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "episode.npz"
    path.write_bytes(replace_array(content, name, value))
    with pytest.raises(StateError, match=rf"{said}.*record the episode again"):
        Episode.load(path)


def test_pickled_objects_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "episode.npz"
    path.write_bytes(replace_array(content, "goal_MC", np.array([print], dtype=object)))
    with pytest.raises(StateError, match="pickle"):
        Episode.load(path)


def test_a_file_that_is_no_npz_is_not_said_to_be_a_pickle(tmp_path: Path) -> None:
    path = tmp_path / "episode.npz"
    path.write_text("no archive")
    with pytest.raises(StateError, match=r"\(it is no \.npz file\); record the episode again"):
        Episode.load(path)


def test_unknown_sets_and_indices_of_states_are_refused(scene: Scene) -> None:
    with pytest.raises(UnknownNameError, match="official"):
        initial_state(scene, "oficial", index=0, seed=0)
    with pytest.raises(StateError, match="from 0 to 49"):
        initial_state(scene, "official", index=50, seed=0)


def test_the_command_plays_saves_and_shows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved, video = tmp_path / "episode.npz", tmp_path / "episode.mp4"
    common = ["play", "--image-size", "64", "--assets", "primitive"]
    assert main([*common, "--driver", "random", "--save", str(saved), "--init-states", "official", "--index", "3"]) == 0
    played = capsys.readouterr().out
    assert "no success after 280 of at most 280 control steps" in played
    assert main([*common, "--episode", str(saved), "--video", str(video)]) == 0
    shown = capsys.readouterr().out
    assert shown.splitlines()[:6] == played.splitlines()[:6]
    assert any(path.stat().st_size > 1000 for path in tmp_path.glob("episode.*") if path != saved)
    assert main(["play", "--episode", str(tmp_path / "none.npz")]) == 2
    assert "none.npz" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("actions_TA", lambda array: 10 * array + 2),
        ("actions_TA", lambda array: array[:, :6]),
        ("states_MX", lambda array: np.full_like(array, np.nan)),
        ("states_MX", lambda array: array[:-1]),
        ("goal_MC", lambda array: array.astype(np.float64)),
        ("snapshot.gripper_pos_N3", lambda array: array * np.inf),
    ],
)
def test_arrays_of_another_kind_are_refused(
    episode: Episode, tmp_path: Path, name: str, change: Callable[[NDArray[Any]], NDArray[Any]]
) -> None:
    path = tmp_path / "episode.npz"
    episode.save(path)
    with np.load(path) as file:
        arrays = dict(file)
    np.savez(path, **{**arrays, name: change(arrays[name])})
    with pytest.raises(StateError, match=name.removeprefix("snapshot.")):
        Episode.load(path)
