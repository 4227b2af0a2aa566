"""The commands `prompt`, `generate` and `ingest` of `python -m tgrpo_envs rewards`; what they run is imported late."""

from __future__ import annotations

from pathlib import Path

from tgrpo_envs.errors import ConfigError
from tgrpo_envs.tasks import Task, get_task, list_tasks


def prompt(suite: str | None = None, task: int | str | None = None, out: Path | None = None) -> str:
    """Print the prompt of a task, to be given to any model; or write those of many tasks to files.

    Args:
        suite: The task's suite; by default all of them, which needs --out.
        task: The task's index or name; by default all of the suite, which needs --out.
        out: Folder to write `<suite>/<task>.prompt.txt` into.
    """
    from tgrpo_envs.author.prompt import render_prompt

    chosen = chosen_tasks(suite, task)
    if out is None:
        if len(chosen) > 1:
            raise ConfigError(
                f"{len(chosen)} prompts are too much for one page; give --suite and --task, or --out FOLDER."
            )
        return render_prompt(chosen[0]).text
    for each in chosen:
        path = out / each.suite / f"{each.name}.prompt.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(render_prompt(each).text, encoding="utf-8")
    return f"{len(chosen)} prompts written to {out}"


def ingest(reply: Path, model_label: str, suite: str, task: int | str, out: Path | None = None) -> str:
    """Check a reply that was carried by hand and file its spec with its provenance.

    Args:
        reply: File with the model's reply; - reads standard input.
        model_label: Which model wrote it.
        suite: The task's suite.
        task: The task's index or name.
        out: Folder to write `<suite>/<task>.llm.json` into; by default the package's own specs.
    """
    from tgrpo_envs.author.ingest import ingest_reply, read_reply
    from tgrpo_envs.rewards.library import SPECS_FOLDER

    path, review = ingest_reply(get_task(suite, task), read_reply(reply), model_label, out or SPECS_FOLDER)
    return "\n".join([f"{path} (lint score {review.score})", *(f"  {line}" for line in review.lines)])


def chosen_tasks(suite: str | None, task: int | str | None) -> tuple[Task, ...]:
    """One task, a suite's, or all.

    Raises:
        ConfigError: A task without its suite.
        UnknownNameError: There is no such suite or task.
    """
    if task is None:
        return list_tasks(suite)
    if suite is None:
        raise ConfigError(f"The task {task!r} needs its suite: give --suite too.")
    return (get_task(suite, task),)
