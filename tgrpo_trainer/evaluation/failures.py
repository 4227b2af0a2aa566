"""Videos of an evaluation's failed episodes, replayed from their initial states."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tgrpo_envs.base_settings import Settings
from tgrpo_envs.files import write_atomically
from tgrpo_envs.recording.video import encode
from tgrpo_trainer.config import EnvConfig
from tgrpo_trainer.evaluation.evaluate import reset_seeds
from tgrpo_trainer.evaluation.replay import IMAGE_SIZE, replay
from tgrpo_trainer.evaluation.result import Mode, StateSet
from tgrpo_trainer.rollout.environment import CONTROL_STEP_S, Envs
from tgrpo_trainer.rollout.rollout import Rollout
from tgrpo_trainer.run.layout import VIDEOS_NAME

END_NAMES = {"horizon": "step limit", "diverged": "physics diverged"}


@dataclass(frozen=True)
class Failure:
    """An episode without success, enough of it to play it again."""

    env: EnvConfig
    states: StateSet
    mode: Mode
    state: int
    """Row of the set, played once."""
    actions_SA: NDArray[np.float32]
    """The action of each control step that ran."""
    end: str
    """Why it ended (EpisodeEnd's value)."""
    stages_done: tuple[str, ...]
    """Stages of the reward that were done at some time."""
    stages_missed: tuple[str, ...]
    """Those that never were."""

    @classmethod
    def of(
        cls, member: Rollout, stage_names: Sequence[str], *, env: EnvConfig, states: StateSet, mode: Mode, state: int
    ) -> Failure:
        """What is kept of a member."""
        actions_SA = member.actions_TCA.flatten(0, 1)[: member.trajectory.control_steps].numpy()
        done_K = member.stages_TK.any(dim=0).tolist()
        return cls(
            env=env,
            states=states,
            mode=mode,
            state=state,
            actions_SA=actions_SA,
            end=str(member.trajectory.end),
            stages_done=tuple(name for name, done in zip(stage_names, done_K, strict=True) if done),
            stages_missed=tuple(name for name, done in zip(stage_names, done_K, strict=True) if not done),
        )


class FailureVideo(Settings):
    """A video on disk."""

    path: str
    """Relative to the evaluation's file."""
    suite: str
    task: int | str
    states: StateSet
    mode: Mode
    state: int
    """Row of the set."""
    shows: str
    """What one sees."""


def write_failures(
    folder: Path, failures: Sequence[Failure], make_envs: Callable[[EnvConfig, int], Envs]
) -> tuple[FailureVideo, ...]:
    """Replay each failure, draw every control step at 256 pixels, and write videos/<suite>_<task>_..._state07.mp4.

    The simulation is deterministic, so the replay is the episode. One that succeeds (in another version of the
    environment) is not written.

    Args:
        folder: Where the evaluation's file lies.
        failures: In the order of their tasks.
        make_envs: Makes an environment of the given settings.
    """
    videos = []
    for env, of_task in groupby(failures, key=lambda one: one.env):
        large = env.model_copy(update={"image_size": IMAGE_SIZE, "action_chunk": 1})
        with closing(make_envs(large, 1)) as envs:
            for failure in of_task:
                options = {"init_states": failure.states, "init_state_ids": np.array([failure.state])}
                observation, _ = envs.reset(seed=reset_seeds([failure.state]), options=options)
                frames_FHWC, succeeded = replay(failure.actions_SA, envs, observation)
                if not succeeded:
                    video = encode(frames_FHWC, 1 / CONTROL_STEP_S)
                    path = folder / VIDEOS_NAME / f"{_name(failure)}{video.suffix}"
                    write_atomically(path, video.content)
                    videos.append(_described(failure, path.relative_to(folder)))
    return tuple(videos)


def _name(failure: Failure) -> str:
    task = f"{failure.env.task:02d}" if isinstance(failure.env.task, int) else failure.env.task
    return f"{failure.env.suite}_{task}_{failure.states}_{failure.mode}_state{failure.state:02d}"


def _described(failure: Failure, path: Path) -> FailureVideo:
    seconds = len(failure.actions_SA) * CONTROL_STEP_S
    done, missed = (", ".join(names) or "none" for names in (failure.stages_done, failure.stages_missed))
    shows = f"{END_NAMES.get(failure.end, failure.end)} after {seconds:.1f} s; stages done: {done}; never: {missed}"
    return FailureVideo(
        path=str(path),
        suite=failure.env.suite,
        task=failure.env.task,
        states=failure.states,
        mode=failure.mode,
        state=failure.state,
        shows=shows,
    )
