"""Sharp videos of the last group: its best and worst rollout, played again."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from tgrpo_envs.files import write_atomically
from tgrpo_envs.recording.video import Video, encode
from tgrpo_trainer.config import EnvConfig
from tgrpo_trainer.evaluation.replay import IMAGE_SIZE, replay
from tgrpo_trainer.report.record import LastGroup
from tgrpo_trainer.rollout.environment import CONTROL_STEP_S, Envs
from tgrpo_trainer.run.layout import VIDEOS_NAME, iteration_name

SUFFIXES = (".mp4", ".webp")


def write_videos(folder: Path, group: LastGroup, env: EnvConfig, make_envs: Callable[[EnvConfig, int], Envs]) -> None:
    """Replay best and worst of the group and write videos/iteration_NNNNNN_{best,worst}.mp4.

    The simulation is deterministic, so the replay is the rollout. One that ends otherwise (in another version of the
    environment) is not written.

    Args:
        folder: The run's folder.
        group: What training recorded.
        env: The run's environment; only picture size and chunk are changed.
        make_envs: Makes it.
    """
    with closing(make_envs(env.model_copy(update={"image_size": IMAGE_SIZE, "action_chunk": 1}), 1)) as envs:
        for which, record in (("best", group.best), ("worst", group.worst)):
            observation, _ = envs.reset(seed=[group.state_seed], options={"init_states": "train", "group_size": 1})
            actions_SA = record.actions_TCA.reshape(-1, record.actions_TCA.shape[-1])[: record.control_steps]
            frames_FHWC, succeeded = replay(actions_SA, envs, observation)
            if succeeded == (record.end == "success"):
                video = encode(frames_FHWC, 1 / CONTROL_STEP_S)
                write_atomically(_path(folder, group.iteration, which, video.suffix), video.content)


def find_video(folder: Path, iteration: int, which: str) -> Video | None:
    """What `write_videos` wrote of an iteration, if it did."""
    for suffix in SUFFIXES:
        path = _path(folder, iteration, which, suffix)
        if path.is_file():
            return Video(path.read_bytes(), suffix)
    return None


def _path(folder: Path, iteration: int, which: str, suffix: str) -> Path:
    return folder / VIDEOS_NAME / f"{iteration_name(iteration)}_{which}{suffix}"
