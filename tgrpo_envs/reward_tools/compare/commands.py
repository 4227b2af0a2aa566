"""The command `rewards compare`: which spec of a task ranks clumsy episodes better, without training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tgrpo_envs.errors import ConfigError
from tgrpo_envs.files import output, write_atomically
from tgrpo_envs.tasks import Task, get_task, list_tasks

if TYPE_CHECKING:
    from tgrpo_envs.reward_tools.compare.judge import Judgement

TABLE, NUMBERS, PLOT = "compare.md", "compare.json", "compare.png"


def compare(
    suite: str | None = None,
    task: int | str | None = None,
    *,
    groups: int = 4,
    specs: Path | None = None,
    assets: str = "primitive",
    recorded: bool = False,
    out: Path | None = None,
) -> str:
    """Judge the two specs of each task, and the sparse reward, by how they rank groups of eight clumsy episodes.

    From each start the scripted expert plays eight times: most are cut off at a random moment, drop what they hold,
    shake, or miss. The reference is how many control steps the undisturbed expert then needs to success. Episodes are
    kept in the cache, so a run that was stopped goes on where it was (half a minute to two minutes a task).

    Args:
        suite: Only this suite; all 130 tasks where neither it nor a task is given. A task's suite is libero_object
            where it is not given.
        task: Only this task of the suite, by index or name.
        groups: Groups of eight a task.
        specs: Folder of the language model's specs, in place of the shipped ones.
        assets: Asset pack: auto, primitive, libero, or a folder.
        recorded: Record nothing: tasks whose groups are not in the cache are called not run.
        out: Folder for the table (compare.md), the numbers (compare.json) and the plot (compare.png).
    """
    from tqdm import tqdm

    from tgrpo_envs.reward_tools.compare import table
    from tgrpo_envs.text_table import aligned

    if groups < 1:
        raise ConfigError(f"--groups is {groups}, but must be 1 or more.")
    chosen = list_tasks(suite) if task is None else (get_task(suite or "libero_object", task),)
    judgements: list[Judgement] = []
    reasons: dict[str, str] = {}
    with output(out, "--out", is_folder=True):
        for each in tqdm(chosen, desc="compare", unit="task", disable=None):
            try:
                judgements.append(_judge(each, groups, specs, assets, record=not recorded))
            except ConfigError as error:
                if len(chosen) == 1:
                    raise
                reasons[f"{each.suite} {each.index}"] = str(error)
        if not judgements:
            raise ConfigError(f"None of {len(chosen)} tasks can be compared: {next(iter(reasons.values()))}")
        if out is not None:
            _write(judgements, tuple(reasons), out)
    tables = [aligned(table.task_rows(judgements)), aligned(table.suite_rows(judgements))]
    return "\n\n".join([*tables, table.conclusion(judgements, tuple(reasons))])


def _judge(task: Task, num_groups: int, specs: Path | None, assets: str, *, record: bool) -> Judgement:
    from tgrpo_envs.reward_tools.compare.groups import load_groups
    from tgrpo_envs.reward_tools.compare.judge import judge
    from tgrpo_envs.rewards import load_spec
    from tgrpo_envs.rewards.shipped import SPECS_FOLDER, shipped_spec, spec_path
    from tgrpo_envs.scene import load_scene

    llm = load_spec(spec_path(task, "llm", specs or SPECS_FOLDER))
    recorded = load_groups(load_scene(task, assets), num_groups, record=record)
    return judge(task, recorded, shipped_spec(task, "compiled"), llm)


def _write(judgements: list[Judgement], not_run: tuple[str, ...], folder: Path) -> None:
    from tgrpo_envs.reward_tools.compare import plot, table
    from tgrpo_envs.text_table import markdown

    parts = [markdown(table.suite_rows(judgements)), table.conclusion(judgements, not_run)]
    parts.append(markdown(table.task_rows(judgements)))
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / TABLE, "\n\n".join(parts) + "\n")
    write_atomically(folder / NUMBERS, table.as_json(judgements, not_run))
    plot.draw(judgements, folder / PLOT)
