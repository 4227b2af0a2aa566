"""The commands `prompt`, `generate` and `ingest` of `python -m tgrpo_envs rewards`; what they run is imported late."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tgrpo_envs.arrays import check_timeout, whole_number
from tgrpo_envs.errors import AuthorError, ConfigError
from tgrpo_envs.files import cache_dir, output, write_atomically
from tgrpo_envs.tasks import CUSTOM, Task, choose_task, get_task, list_tasks
from tgrpo_envs.text_table import aligned

if TYPE_CHECKING:
    from tgrpo_envs.reward_tools.author.generate import Outcome

DEFAULT_OUT = Path("specs")  # of whoever runs the command: the package's own are replaced by nobody in passing


def prompt(
    suite: str | None = None, task: int | str | None = None, out: Path | None = None, bddl: Path | None = None
) -> str:
    """Print the prompt of a task, to be given to any model; or write those of many tasks to files.

    Args:
        suite: The task's suite; libero_object for one task, otherwise by default all, which needs --out.
        task: The task's index or name; by default all of the suite, which needs --out.
        out: Folder to write `<suite>/<task>.prompt.txt` into.
        bddl: A task file of your own, in place of suite and task.
    """
    from tgrpo_envs.reward_tools.author.prompt import render_prompt

    chosen = chosen_tasks(suite, task, bddl)
    if out is None:
        if len(chosen) > 1:
            raise ConfigError(
                f"{len(chosen)} prompts are too much for one page; give --suite and --task, or --out FOLDER."
            )
        return render_prompt(chosen[0]).text
    with output(out, "--out", is_folder=True):
        for each in chosen:
            write_atomically(out / each.suite / f"{each.name}.prompt.txt", render_prompt(each).text)
    return f"{len(chosen)} prompts written to {out}"


def ingest(
    reply: Path,
    model_label: str,
    suite: str | None = None,
    task: int | str | None = None,
    out: Path = DEFAULT_OUT,
    *,
    replace: bool = False,
    bddl: Path | None = None,
) -> str:
    """Check a reply that was carried by hand and file its spec with its provenance.

    Args:
        reply: File with the model's reply; - reads standard input.
        model_label: Which model wrote it.
        suite: The task's suite; it and the task have to be named, unless --bddl is.
        task: The task's index or name.
        out: Folder to write `<suite>/<task>.llm.json` into.
        replace: Whether a spec there that has passed its certificate may be replaced.
        bddl: A task file of your own, in place of suite and task.
    """
    from tgrpo_envs.reward_tools.author.ingest import ingest_reply, read_reply

    if bddl is None and (suite is None or task is None):
        raise ConfigError("Whose reward the reply is has to be said; give --suite and --task, or --bddl FILE.")
    (chosen,) = chosen_tasks(suite, task, bddl)
    with output(out, "--out", is_folder=True):
        path, review = ingest_reply(chosen, read_reply(reply), model_label, out, replace=replace)
    return "\n".join([f"{path} (lint score {review.score})", *(f"  {line}" for line in review.lines)])


def generate(
    model: str,
    suite: str | None = None,
    task: int | str | None = None,
    samples: int = 4,
    out: Path = DEFAULT_OUT,
    work: Path | None = None,
    max_calls: int = 2500,
    max_tokens: int = 20_000_000,
    max_reply_tokens: int = 8192,
    timeout_s: float = 180.0,
    *,
    refresh: bool = False,
    replace: bool = False,
    bddl: Path | None = None,
) -> str:
    """Have a language model write the specs, check them, send faults back, and file the best of several.

    The server comes from OPENAI_BASE_URL and OPENAI_API_KEY. Replies are kept, so a run that was stopped goes on
    where it was at no cost.

    Args:
        model: The model's name on the server.
        suite: The task's suite; libero_object for one task, otherwise by default all.
        task: The task's index or name; by default all of the suite.
        samples: Specs to ask for, of each task.
        out: Folder to write `<suite>/<task>.llm.json` into.
        work: Folder for replies, ledger and rejected attempts; by default `author` in the cache.
        max_calls: Requests that may be sent, retries included.
        max_tokens: Tokens that may be spent, prompts and replies together.
        max_reply_tokens: Longest reply, tokens.
        timeout_s: Longest wait for a reply, seconds.
        refresh: Ask again even where the reply to the same question is kept.
        replace: Ask even where a spec stands in `out` that has passed its certificate, and replace it.
        bddl: A task file of your own, in place of suite and task.
    """
    from tqdm import tqdm

    from tgrpo_envs.reward_tools.author.client import ChatServer, Limits
    from tgrpo_envs.reward_tools.author.generate import CERTIFIED, SAVED, SpecWriter
    from tgrpo_envs.reward_tools.author.ledger import Accounts

    if not model.strip():
        raise ConfigError(f"--model {model!r} names no model; give the name that the server knows it by.")
    for name, value, low in (
        ("--samples", samples, 1),
        ("--max-calls", max_calls, 0),  # kept replies cost nothing
        ("--max-tokens", max_tokens, 0),
        ("--max-reply-tokens", max_reply_tokens, 1),
    ):
        whole_number(name, value, low)
    check_timeout("--timeout-s", timeout_s)
    chosen = chosen_tasks(suite, task, bddl)
    work = work or cache_dir() / "author"
    accounts = Accounts(work / "ledger.jsonl", max_calls=max_calls, max_tokens=max_tokens)
    server = ChatServer(model, accounts, Limits(timeout_s=timeout_s, max_reply_tokens=max_reply_tokens))
    writer = SpecWriter(server, accounts, work, out, samples=samples, refresh=refresh, replace=replace)
    with output(out, "--out", is_folder=True), output(work, "--work", is_folder=True):
        outcomes = list(tqdm(writer.write_all(chosen), total=len(chosen), desc="Writing", unit="task", disable=None))
    summary = summarise(outcomes, accounts.calls, accounts.tokens)
    if not any(outcome.result in (SAVED, CERTIFIED) for outcome in outcomes):
        raise AuthorError(summary)
    return summary


def summarise(outcomes: Sequence[Outcome], calls: int, tokens: int) -> str:
    """A table with a row for each task, notes below it, and what the run cost."""
    heading = ("suite", "task", "result", "accepted", "replies", "tokens", "score")
    rows = [
        (
            outcome.task.suite,
            str(outcome.task.index),
            outcome.result,
            f"{outcome.accepted}/{outcome.samples}",
            str(outcome.replies),
            str(outcome.tokens),
            f"{outcome.score:.1f}",
        )
        for outcome in outcomes
    ]
    notes = [f"{each.task.suite}/{each.task.index}: {each.note}" for each in outcomes if each.result == "no spec"]
    saved = sum(outcome.result == "spec" for outcome in outcomes)
    return "\n".join(
        [aligned([heading, *rows]), *notes, f"{saved} of {len(outcomes)} specs written; {calls} calls, {tokens} tokens"]
    )


def chosen_tasks(suite: str | None, task: int | str | None, bddl: Path | None = None) -> tuple[Task, ...]:
    """One task (of LIBERO-Object, if no suite is named), a suite's, all, or that of a file of one's own.

    Raises:
        UnknownNameError: There is no such suite or task.
        ConfigError: A file, and a suite or task of LIBERO's.
        BddlError: See `tgrpo_envs.tasks.task_from_file`.
    """
    if bddl is not None:
        return (choose_task(suite or CUSTOM, task or 0, bddl),)
    return list_tasks(suite) if task is None else (get_task(suite or "libero_object", task),)
