"""The command line: `python -m tgrpo_envs {tasks,assets,states,rewards,demos,expert,play,evaluate,parity,bench}`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from tgrpo_envs import text_table
from tgrpo_envs.arrays import whole_number
from tgrpo_envs.command import in_a_clone, run_command
from tgrpo_envs.errors import ConfigError
from tgrpo_envs.evaluate.options import EvaluateOptions
from tgrpo_envs.files import output
from tgrpo_envs.tasks import CUSTOM, choose_task, get_task, list_tasks, recorded_task

PROG = "python -m tgrpo_envs"
DESCRIPTION = "LIBERO's tasks as Gymnasium environments: what there is, and what to make from it."

# The commands import what they run, so that `tasks` and `--help` stay instant.


def tasks(suite: str | None = None) -> str:
    """List the tasks: suite, index, instruction and goal.

    Args:
        suite: Only this suite.
    """
    rows = [
        (task.suite, str(task.index), task.instruction, " and ".join(_literal(conjunct) for conjunct in task.goal))
        for task in list_tasks(suite)
    ]
    return text_table.aligned([("suite", "task", "instruction", "goal"), *rows])


def assets(
    action: tyro.conf.Positional[Literal["list", "categories", "sheet"]] = "list",
    *,
    download: bool = False,
    folder: Path | None = None,
    assets: str = "primitive",
    out: Path = Path("start_states.webp"),
) -> str:
    """List the asset packs on this machine, download LIBERO's, or show what they have.

    Args:
        action: `list` the packs; or the `categories` that a task file of your own may name, with their regions; or draw
            a `sheet` of all 130 start states, which builds scenes not yet in the cache (some ten minutes for all).
        download: Download LIBERO's meshes and textures from the hub first (about 400 MB).
        folder: Where to download them to; by default where hf-libero looks.
        assets: Asset pack of the categories or the sheet: auto, primitive, libero, or a folder.
        out: Where to write the sheet; the ending chooses the format.
    """
    from tgrpo_envs.assets import describe_packs, download_pack, find_pack

    if download:
        download_pack(folder)
    elif folder is not None:
        raise ConfigError(f"--folder {folder} is where --download puts LIBERO's assets; give both or neither.")
    if action == "categories":
        from tgrpo_envs.scene.task_file import describe_categories

        return text_table.aligned(describe_categories(find_pack(assets)))
    if action == "sheet":
        from tgrpo_envs.recording.contact_sheet import draw_sheet

        with output(out, "--out"):
            return str(draw_sheet(assets, out))
    rows = [(info.name, str(info.pack.folder) if info.pack else "not here", info.note) for info in describe_packs()]
    return text_table.aligned([("pack", "folder", "note"), *rows])


def states(
    suite: str | None = None, task: int | str | None = None, assets: str = "auto", *, markdown: bool = False
) -> str:
    """Show how much the official, training and held-out initial states of a task differ (standard deviation / range).

    Args:
        suite: Only this suite; by default all of them, which builds a scene for each task first.
        task: A task's index or name, to see each of its objects, fixtures and joints; by default a row for each task.
        assets: Asset pack: auto, primitive, libero, or a folder.
        markdown: Print the table as Markdown, as in docs/states.md.
    """
    from tqdm import tqdm

    from tgrpo_envs.scene.spread import SUMMARY_HEADING, detail_rows, summary_row, task_spread

    if task is not None:
        rows = detail_rows(task_spread(get_task(suite or "libero_object", task), assets))
    else:
        chosen = tqdm(list_tasks(suite), desc="Measuring", unit="task", disable=None)
        rows = [SUMMARY_HEADING, *(summary_row(one, task_spread(one, assets)) for one in chosen)]
    return text_table.markdown(rows) if markdown else text_table.aligned(rows)


def rewards() -> str:
    """Write, check and look at stage rewards; `rewards --help` lists the commands."""
    return "Choose a command; see: python -m tgrpo_envs rewards --help"


def demos(
    out: Path,
    suite: str | None = None,
    task: int | str = 0,
    num_demos: int = 10,
    image_size: int = 64,
    max_noise: float = 0.3,
    seed: int = 0,
    assets: str = "auto",
    bddl: Path | None = None,
) -> str:
    """Record demonstrations of the scripted expert in LIBERO's HDF5 format.

    Args:
        out: The file to write.
        suite: The task's suite; libero_object where it is left out.
        task: The task's index or name.
        num_demos: Successful episodes to write.
        image_size: Side of the square pictures, pixels.
        max_noise: Largest standard deviation of the noise on executed translations, as a share of a full action.
        seed: Fixes initial states and noise.
        assets: Asset pack: auto, primitive, libero, or a folder.
        bddl: A task file of your own, in place of suite and task.
    """
    from tgrpo_envs.expert import record_demonstrations

    with output(out, "--out"):
        report = record_demonstrations(
            suite or ("libero_object" if bddl is None else CUSTOM),
            task,
            num_demos,
            out,
            seed=seed,
            image_size=image_size,
            max_noise=max_noise,
            assets=assets,
            bddl=bddl,
        )
    return str(report)


def expert(
    suite: str = "libero_object",
    episodes: int = 20,
    max_noise: float = 0.0,
    seed: int = 0,
    assets: str = "auto",
) -> str:
    """Measure the scripted expert on fresh training states: solved episodes of each task of a suite, as k/n.

    Args:
        suite: The suite, or all.
        episodes: Episodes of each task.
        max_noise: Largest standard deviation of the noise on executed translations, as a share of a full action.
        seed: Fixes initial states and noise.
        assets: Asset pack: auto, primitive, libero, or a folder.
    """
    from tgrpo_envs.expert import measure_expert

    return str(measure_expert(suite, episodes=episodes, seed=seed, assets=assets, max_noise=max_noise))


def play(
    suite: str | None = None,
    task: int | str = 0,
    episode: Path | None = None,
    driver: Literal["expert", "random"] = "expert",
    init_states: Literal["train", "heldout", "official"] = "train",
    index: int = 0,
    seed: int = 0,
    reward: str = "stages",
    save: Path | None = None,
    video: Path | None = None,
    image_size: int = 256,
    assets: str = "auto",
    demo: int = 0,
    bddl: Path | None = None,
) -> str:
    """Play one episode, or a recorded one again, and say when each stage of the reward was done.

    Args:
        suite: The task's suite; libero_object where it is left out.
        task: The task's index or name.
        episode: A recorded episode to show, or demonstrations in LIBERO's HDF5 format; who drives and where it starts
            then do not matter.
        driver: Who plays: the scripted expert, or chance.
        init_states: Set of initial states.
        index: Which state of a fixed set; `train` draws one with the seed.
        seed: Fixes the drawn state and random actions.
        reward: Reward to score with: stages, llm, compiled, sparse, or the path of a spec.
        save: Write the episode to this .npz file.
        video: Write a video of both cameras to this .mp4 file.
        image_size: Side of the pictures in the video, pixels.
        assets: Asset pack: auto, primitive, libero, or a folder.
        demo: Which demonstration of an HDF5 file in `episode`: N of data/demo_N.
        bddl: A task file of your own, in place of suite and task; also where `episode` is of one.
    """
    from tgrpo_envs.recording import play as player
    from tgrpo_envs.recording.demonstration import read_episode
    from tgrpo_envs.scene import load_scene
    from tgrpo_envs.shared_settings import MAX_PICTURE_PX

    with output(save, "--save"), output(video, "--video"):
        whole_number("--seed", seed, 0)
        if video is not None:
            whole_number("--image-size", image_size, 1, MAX_PICTURE_PX)
            if video.suffix != ".mp4":
                raise ConfigError(f"--video {video} is the name of no .mp4 file; let it end in .mp4.")
        if episode is not None:
            played = read_episode(episode, demo, assets)
            info = played.info
            scene = load_scene(recorded_task(info.suite, info.task, bddl), info.pack if assets == "auto" else assets)
        else:
            suite = suite or ("libero_object" if bddl is None else CUSTOM)
            scene = load_scene(choose_task(suite, task, bddl), assets)
            init = player.initial_state(scene, init_states, index=index, seed=seed)
            played = player.record_episode(scene, init, driver, seed=seed)
        lines = [player.show(played, scene, reward)]
        if save is not None:
            played.save(save)
            lines.append(f"episode: {save}")
        if video is not None:
            lines.append(f"video: {player.write_video(played, scene, video, image_size)}")
    return "\n".join(lines)


def evaluate(options: Annotated[EvaluateOptions, tyro.conf.arg(name="")]) -> str:
    """Play any policy, a Python function or a server, and count its successes with Wilson intervals."""
    from tgrpo_envs.evaluate.command import run_evaluation

    with output(options.out, "--out", is_folder=True):
        return run_evaluation(options)


def parity(
    suite: str | None = None,
    task: int | str | None = None,
    assets: str = "auto",
    steps: int = 200,
    states: int = 1000,
    out: Path | None = None,
) -> str:
    """Compare our physics, observations and success with LIBERO's own environment, some twenty seconds a task.

    A trajectory that leaves LIBERO's is held against how far LIBERO leaves its own when an input's last bit changes.

    Args:
        suite: Only this suite; all 130 tasks where neither it nor a task is given. A task's suite is libero_object
            where it is not given.
        task: Only this task of the suite, by index or name.
        assets: Asset pack: auto, primitive, libero, or a folder.
        steps: Control steps of random actions after settling.
        states: States with moved objects and joints in which success is compared.
        out: Also write the numbers to this file, as JSON.
    """
    from tgrpo_envs.parity.compare import measure_parity

    with output(out, "--out"):
        return measure_parity(suite, task, assets, steps=steps, states=states, out=out)


def bench(
    suite: str = "libero_object",
    task: int | str = 0,
    assets: str = "auto",
    *,
    official: bool = True,
    out: Path | None = None,
    plot: Path | None = None,
    numbers: tuple[Path, ...] = (),
) -> str:
    """Measure steps, resets and pictures on this machine, beside LIBERO's own environment (about a minute).

    With `plot`, draw what was measured before instead.

    Args:
        suite: The task's suite.
        task: The task's index or name.
        assets: Asset pack: auto, primitive, libero, or a folder.
        official: Measure LIBERO's own environment too.
        out: Also write the numbers to this file, as JSON.
        plot: Measure nothing, but draw `numbers` into this picture; the ending chooses the format.
        numbers: Files that `out` wrote, one for each asset pack.
    """
    if plot is not None:
        with in_a_clone():
            from benchmarks.envs.plot import draw_bench

        with output(plot, "--plot"):
            return draw_bench(numbers, plot)
    with in_a_clone():
        from benchmarks.envs.bench import run_bench

    with output(out, "--out"):
        return run_bench(suite, task, assets, official=official, out=out)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; see `tgrpo_envs.command.run_command` for how it ends.

    Args:
        arguments: The command line without the program's name; None takes the process's.
    """
    commands: dict[str, Callable[..., Any]] = {
        "tasks": tasks,
        "assets": assets,
        "states": states,
        "rewards": rewards,
        "demos": demos,
        "expert": expert,
        "play": play,
        "evaluate": evaluate,
        "parity": parity,
        "bench": bench,
    }
    words, prog, description = list(sys.argv[1:] if arguments is None else arguments), PROG, DESCRIPTION
    if len(words) > 1 and words[0] == "rewards":
        from tgrpo_envs.reward_tools import commands as reward_commands

        words, prog, description = words[1:], f"{PROG} rewards", reward_commands.DESCRIPTION
        commands = reward_commands.COMMANDS

    def run() -> str:
        text: str = tyro.extras.subcommand_cli_from_dict(commands, prog=prog, description=description, args=words)
        return text

    return run_command(run)


def _literal(conjunct: Sequence[str]) -> str:
    return f"{conjunct[0]}({', '.join(conjunct[1:])})"


if __name__ == "__main__":
    sys.exit(main())
