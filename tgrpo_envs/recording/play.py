"""Plays one episode (expert, random, or from a file) and shows its stages and a video."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from tgrpo_envs.errors import StateError
from tgrpo_envs.expert import ScriptedExpert
from tgrpo_envs.files import write_atomically
from tgrpo_envs.recording.episode_file import Episode, EpisodeInfo
from tgrpo_envs.recording.video import encode
from tgrpo_envs.rewards import Score, StageSpec, choose_profile, choose_spec, rescore
from tgrpo_envs.scene import InitStates, Scene, fixed_states, sample_train_states
from tgrpo_envs.settings import ACTION_SIZE, CAMERAS
from tgrpo_envs.sim.simulator import Simulator
from tgrpo_envs.sim.snapshot import BoolArray, FloatArray, Snapshot
from tgrpo_envs.sim.success import goal_truth
from tgrpo_envs.tasks import CONTROL_HZ

Driver = Literal["expert", "random"]
ONE = np.ones(1, dtype=bool)

Act = Callable[[Snapshot], FloatArray]
"""From the present snapshot of one environment to its action, shape (1, 7)."""


class Moment(NamedTuple):
    """What an episode keeps of one moment of a simulator's only environment."""

    state_X: FloatArray
    snapshot: Snapshot
    goal_C: BoolArray

    @classmethod
    def of(cls, simulator: Simulator) -> Moment:
        """The present one."""
        scene, snapshot = simulator.scene, simulator.snapshot.copy()
        return cls(simulator.get_states().states_NX[0], snapshot, goal_truth(scene.goal, scene.layout, snapshot)[0])


def initial_state(scene: Scene, name: str, *, index: int, seed: int) -> InitStates:
    """One state: drawn with the seed for ``train``, else the one with this index in ``heldout`` or ``official``.

    Raises:
        UnknownNameError: There is no such set.
        StateError: The set has no such index.
    """
    if name == "train":
        return sample_train_states(scene, np.random.default_rng(seed), 1)
    return fixed_states(scene, name).pick(np.array([index]), name)


def record_episode(scene: Scene, init: InitStates, driver: Driver, *, seed: int = 0) -> Episode:
    """Let the expert or chance play one episode until it succeeds or its horizon ends it.

    Args:
        scene: The scene.
        init: One initial state; it is settled first.
        driver: Who acts.
        seed: Of the random actions.

    Raises:
        ConfigError: The expert cannot do this task.
        StateError: The physics diverged.
    """
    with closing(Simulator(scene, 1, num_threads=1)) as simulator:
        simulator.reset(init, ONE)
        act = _driver(scene, driver, simulator.snapshot, seed)
        actions: list[FloatArray] = []
        moments = [Moment.of(simulator)]
        while len(actions) < scene.task.horizon and not moments[-1].goal_C.all():
            action_NA = act(simulator.snapshot)
            if simulator.step(action_NA, ONE).any():
                raise StateError(f"The physics of {scene.task.name} diverged at step {len(actions) + 1}.")
            actions.append(action_NA[0])
            moments.append(Moment.of(simulator))
    return episode_of(scene, moments, np.array(actions).reshape(-1, ACTION_SIZE), init.fixtures_NF7[0])


def episode_of(scene: Scene, moments: Sequence[Moment], actions_TA: FloatArray, fixtures_F7: FloatArray) -> Episode:
    """An episode of T actions from its T + 1 moments."""
    task = scene.task
    return Episode(
        EpisodeInfo(
            suite=task.suite,
            task=task.name,
            pack=scene.pack_name,
            mujoco=scene.record.versions["mujoco"],
            horizon=max(task.horizon, len(actions_TA)),
            bddl_digest=task.bddl_digest,
        ),
        scene.layout,
        states_MX=np.stack([moment.state_X for moment in moments]),
        fixtures_F7=fixtures_F7,
        actions_TA=actions_TA,
        snapshots=Snapshot.join([moment.snapshot for moment in moments]),
        goal_MC=np.stack([moment.goal_C for moment in moments]),
    )


def draw_frames(episode: Episode, scene: Scene, image_size: int) -> NDArray[np.uint8]:
    """Both cameras side by side at every moment, (M, H, 2 W, 3); no physics is stepped.

    Raises:
        StateError: The episode was recorded in another scene.
    """
    images = {camera: np.zeros((1, image_size, image_size, 3), np.uint8) for camera in CAMERAS}
    frames = []
    with closing(Simulator(scene, 1, num_threads=1, cameras=CAMERAS, image_size=image_size)) as simulator:
        for state_X in tqdm(episode.states_MX, desc="pictures", unit="picture", leave=False):
            simulator.reset(InitStates(state_X[None], episode.fixtures_F7[None]), ONE, settle=False)
            simulator.render(images, ONE)
            frames.append(np.concatenate([image[0] for image in images.values()], axis=1))
    return np.stack(frames)


def show(episode: Episode, scene: Scene, reward: str | Path) -> str:
    """What happened in words: the outcome, and when each stage of the reward was first done.

    Raises:
        ConfigError: The episode was recorded under another text of the scene's task file.
    """
    episode.info.check_task(scene.task)
    spec = choose_spec(reward, scene.problem, scene.task)
    info = episode.info
    score = rescore(
        spec,
        episode.layout,
        episode.snapshots,
        episode.goal_MC,
        horizon=info.horizon,
        profile=choose_profile(reward),
    )
    outcome = "success" if episode.success else "no success"
    lines = [
        f"{info.suite}/{info.task} on {info.pack}: {outcome} after {len(episode)} of at most "
        f"{info.horizon} control steps, return {score.episode_return:.3f}",
        *_stage_lines(spec, score),
    ]
    return "\n".join(lines)


def write_video(episode: Episode, scene: Scene, path: Path, image_size: int) -> Path:
    """Write an H.264 video, or an animated WebP where no encoder can be started; returns the file's real name."""
    video = encode(draw_frames(episode, scene, image_size), CONTROL_HZ)
    path = path.with_suffix(video.suffix)
    write_atomically(path, video.content)
    return path


def _driver(scene: Scene, driver: Driver, snapshot: Snapshot, seed: int) -> Act:
    if driver == "expert":
        expert = ScriptedExpert(scene.layout, scene.task.goal, 1, scene.problem)
        expert.reset(snapshot, ONE)
        return expert.act
    rng = np.random.default_rng(seed)
    return lambda _: rng.uniform(-1.0, 1.0, (1, ACTION_SIZE))


def _stage_lines(spec: StageSpec, score: Score) -> list[str]:
    width = max(len(stage.id) for stage in spec.stages)
    return [
        f"  {stage.id:<{width}}  {'never' if step is None else f'step {step}'}"
        for stage, step in zip(spec.stages, score.first_done(), strict=True)
    ]
