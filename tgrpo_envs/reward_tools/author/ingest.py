"""Imports a reply that a person copied from a model: the same checks and the same record as an API's."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tgrpo_envs.errors import ConfigError, SpecError
from tgrpo_envs.files import read_json, write_atomically
from tgrpo_envs.reward_tools.author.cards import load_card
from tgrpo_envs.reward_tools.author.prompt import render_prompt
from tgrpo_envs.reward_tools.author.provenance import Provenance, ReplyRecord, make_provenance, now, save_authored
from tgrpo_envs.reward_tools.author.redaction import clean
from tgrpo_envs.reward_tools.author.reply import MAX_REPLY_CHARS
from tgrpo_envs.reward_tools.author.review import Review, review_reply
from tgrpo_envs.rewards.shipped import provenance_path
from tgrpo_envs.rewards.spec import spec_id
from tgrpo_envs.tasks import Task

MAX_LABEL_CHARS = 100
_BYTES_PER_CHAR = 4  # of UTF-8, at most


def ingest_reply(
    task: Task, reply: str, model_label: str, folder: Path, *, replace: bool = False
) -> tuple[Path, Review]:
    """Check a reply and file the spec in it, with all replies of the task that came before, refused or replaced.

    Args:
        task: The task that the prompt was for.
        reply: What the model wrote.
        model_label: Which model that was, in the words of whoever carried it.
        folder: Where specs are kept: the files go to ``<folder>/<suite>/``.
        replace: Whether it may take the place of another spec that has passed its certificate.

    Returns:
        The spec's file, and what the checks said.

    Raises:
        ConfigError: The label is empty or too long.
        SpecError: The reply holds no spec without errors, which the message lists; or a certified one is in its place.
    """
    reply, model_label = clean(reply), clean(model_label)
    if not 0 < len(model_label.strip()) <= MAX_LABEL_CHARS:
        raise ConfigError(
            f"The model label {model_label[:MAX_LABEL_CHARS]!r} must have 1 to {MAX_LABEL_CHARS} characters; "
            "name the model."
        )
    card = load_card(task)
    review = review_reply(reply, task, card)
    refused = folder / task.suite / f"{task.name}.llm.refused.json"
    replaced, since = _replaced(provenance_path(task, folder)), _refused_before(refused)
    record = ReplyRecord(
        round=len(replaced) + len(since),
        form="manual",
        text=reply,
        findings=review.lines,
        spec_id=spec_id(review.spec) if review.spec else None,
        created=now(),
        model=model_label,
    )
    if review.spec is None or not review.accepted:
        write_atomically(refused, json.dumps([each.model_dump() for each in (*since, record)], indent=1) + "\n")
        raise SpecError("\n  ".join([f"The reply is no valid spec of {task.suite}/{task.name}:", *review.lines]))
    replies = (*replaced, *since, record)
    provenance = make_provenance(
        task, card, render_prompt(task, card), review, replies, model=model_label, channel="manual"
    )
    path = save_authored(review.spec, provenance, task, folder, replace=replace)
    refused.unlink(missing_ok=True)
    return path, review


def _replaced(path: Path) -> tuple[ReplyRecord, ...]:
    """The replies behind the spec that is about to be replaced."""
    try:
        return Provenance.model_validate_json(path.read_bytes()).replies
    except FileNotFoundError:
        return ()
    except (OSError, ValueError) as error:
        raise SpecError(f"Cannot read the replies in {path} ({error}); repair or delete the file.") from error


def _refused_before(path: Path) -> tuple[ReplyRecord, ...]:
    """The replies that were refused since the task last got a spec."""
    try:
        return tuple(ReplyRecord.model_validate(each) for each in read_json(path))
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, TypeError) as error:
        raise SpecError(f"Cannot read the refused replies in {path} ({error}); repair or delete the file.") from error


def read_reply(path: Path) -> str:
    """The text of a reply; ``-`` reads standard input.

    Raises:
        SpecError: The file cannot be read, is too large, or is not UTF-8.
    """
    limit = MAX_REPLY_CHARS * _BYTES_PER_CHAR
    try:
        if str(path) == "-":
            data = sys.stdin.buffer.read(limit + 1)
        else:
            with path.open("rb") as file:
                data = file.read(limit + 1)
    except OSError as error:
        raise SpecError(f"Cannot read the reply {path}: {error.strerror}.") from error
    if len(data) > limit:
        raise SpecError(f"The reply {path} has more than {limit} bytes; give the model's answer alone.")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise SpecError(f"The reply {path} is not UTF-8 text (byte {error.start}).") from error
