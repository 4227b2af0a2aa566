"""The command `rewards show`: a recorded episode as a page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from tgrpo_envs.files import output, write_atomically

if TYPE_CHECKING:
    from tgrpo_envs.recording.episode_file import Episode
    from tgrpo_envs.recording.video import Video
    from tgrpo_envs.rewards import StageSpec
    from tgrpo_envs.tasks import Task


def show(
    episode: tyro.conf.Positional[Path],
    out: Path = Path("episode.html"),
    reward: str = "stages",
    assets: str = "auto",
    image_size: int = 256,
    demo: int = 0,
    bddl: Path | None = None,
) -> str:
    """Write a page that shows a recorded episode and says why each of its steps paid.

    The page is one file and needs no network. Without the episode's scene on this machine it has no video.

    Args:
        episode: An episode recorded by `play --save`, or demonstrations in LIBERO's HDF5 format.
        out: The HTML file to write.
        reward: Reward to explain: stages, llm, compiled, sparse, or the path of a spec.
        assets: Asset pack of the video: auto (the recorded one), primitive, libero, or a folder.
        image_size: Side of each of the video's two pictures, pixels.
        demo: Which demonstration of an HDF5 file: N of data/demo_N.
        bddl: The task file of your own that the episode is of, where it is of one.
    """
    from tgrpo_envs.arrays import whole_number
    from tgrpo_envs.recording.demonstration import read_episode
    from tgrpo_envs.reward_tools.explain.page import episode_page
    from tgrpo_envs.rewards import choose_profile
    from tgrpo_envs.rewards.trace import trace
    from tgrpo_envs.shared_settings import MAX_PICTURE_PX
    from tgrpo_envs.tasks import recorded_task

    whole_number("--image-size", image_size, 1, MAX_PICTURE_PX)
    recorded = read_episode(episode, demo, assets)
    info = recorded.info
    task = recorded_task(info.suite, info.task, bddl)
    info.check_task(task)
    spec = _spec(reward, task)
    told = trace(
        spec,
        recorded.layout,
        recorded.snapshots,
        recorded.goal_MC,
        horizon=info.horizon,
        profile=choose_profile(reward),
    )
    video = _video(recorded, task, assets, image_size)
    where = f"{info.suite}, task {task.index}, {info.pack} assets, MuJoCo {info.mujoco}"
    instruction = task.instruction[:1].upper() + task.instruction[1:]
    with output(out, "--out"):
        write_atomically(
            out, episode_page(told, instruction, f"{where}; reward: {reward}; {episode.name}", task.goal, video)
        )
    return f"page: {out}" + (f"\nwithout a video: {video}" if isinstance(video, str) else "")


def _spec(reward: str, task: Task) -> StageSpec:
    """As in `play`, but a spec from a file needs no LIBERO on the machine."""
    from tgrpo_envs.bddl import read_problem
    from tgrpo_envs.rewards import choose_spec
    from tgrpo_envs.rewards.resolve import NAMES, load_spec_for
    from tgrpo_envs.tasks import bddl_path

    if reward not in NAMES:
        return load_spec_for(task, reward)
    return choose_spec(reward, read_problem(bddl_path(task)), task)


def _video(episode: Episode, task: Task, assets: str, image_size: int) -> Video | str:
    """The episode's video, or why this machine cannot draw it."""
    from tgrpo_envs.errors import AssetError, RenderError, SceneError, StateError
    from tgrpo_envs.recording.play import draw_frames
    from tgrpo_envs.recording.video import encode
    from tgrpo_envs.scene import load_scene
    from tgrpo_envs.tasks import CONTROL_HZ

    try:
        scene = load_scene(task, episode.info.pack if assets == "auto" else assets)
        return encode(draw_frames(episode, scene, image_size), CONTROL_HZ)
    except (AssetError, SceneError, RenderError, StateError) as error:
        return str(error)
