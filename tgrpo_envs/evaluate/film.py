"""A video of a finished episode: its actions once more from its state, drawn at every control step."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tgrpo_envs.evaluate.play import Finished
from tgrpo_envs.evaluate.record import EpisodeRecord
from tgrpo_envs.files import write_atomically
from tgrpo_envs.tasks import CONTROL_HZ
from tgrpo_envs.vector import LiberoVectorEnv

IMAGE_SIZE = 256


def film(finished: Finished, folder: Path) -> Path:
    """Write a video, scene camera left and wrist camera right; the simulation is deterministic, so it is the episode.

    Returns:
        Its path.

    Raises:
        OutputError: It cannot be written.
    """
    from tgrpo_envs.recording.video import encode

    record = finished.record
    shown = {"image_size": IMAGE_SIZE, "horizon": len(finished.actions_SA), "detail": "fast", "reward": "sparse"}
    env = LiberoVectorEnv(autoreset_mode="Disabled", **{**finished.settings, **shown})
    with closing(env):
        env.reset(options={"init_states": record.states, "init_state_ids": np.array([record.state])})
        frames = [_frame(env)]
        for action_A in finished.actions_SA:
            env.step(action_A[None])
            frames.append(_frame(env))
    video = encode(np.stack(frames), CONTROL_HZ)
    path = folder / f"{_stem(record)}{video.suffix}"
    write_atomically(path, video.content)
    return path


def is_filmed(record: EpisodeRecord, folder: Path) -> bool:
    """Whether the episode's video is there."""
    return any(folder.glob(f"{_stem(record)}.*"))


def _stem(record: EpisodeRecord) -> str:
    place = f"{record.suite}_{record.task:02d}_{record.states}_state{record.state:02d}"
    return f"{place}{f'_{record.kind}' if record.kind else ''}_{record.end}"


def _frame(env: LiberoVectorEnv) -> NDArray[np.uint8]:
    pictures = [env.batch.observations[name][0] for name in ("agentview", "wrist")]
    return np.concatenate(pictures, axis=1)
