"""Who wrote a spec and from what: the record that is kept beside it, with every reply as it came."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from tgrpo_envs.base_settings import Frozen
from tgrpo_envs.errors import SpecError
from tgrpo_envs.files import write_atomically
from tgrpo_envs.reward_tools.author.cards import TaskCard
from tgrpo_envs.reward_tools.author.prompt import Prompt, template_sha256
from tgrpo_envs.reward_tools.author.review import Review
from tgrpo_envs.reward_tools.author.words import vocabulary_id
from tgrpo_envs.rewards.shipped import has_passed, provenance_path, spec_path
from tgrpo_envs.rewards.spec import StageSpec, load_spec, save_spec, spec_id
from tgrpo_envs.tasks import Task


class Usage(Frozen):
    """Tokens as the server counted them; `estimated` where it did not: then the most it can have been."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    estimated: bool = False


class ReplyRecord(Frozen):
    """One reply of a model and what became of it.

    Attributes:
        sample: Which of the samples it belongs to.
        round: 0 is the first reply, others answer the findings about the one before.
        form: How the server was asked for JSON; ``manual`` where a person carried the text.
        text: The reply as it came.
        findings: What was wrong with it.
        spec_id: Identity of the spec in it, None where it holds none.
        created: When it came, UTC.
        model: The model's name as the server gave it, or the label given by hand.
        fingerprint: The server's name for its own version and settings.
        temperature: Of sampling, as asked for.
        response_id: The server's id.
        finish_reason: Why the model stopped.
        usage: Tokens.
    """

    sample: int = 0
    round: int = 0
    form: str
    text: str
    findings: tuple[str, ...]
    spec_id: str | None
    created: str
    model: str
    fingerprint: str | None = None
    temperature: float | None = None
    response_id: str | None = None
    finish_reason: str | None = None
    usage: Usage | None = None


class CandidateRecord(Frozen):
    """One sample's final spec and the parts of its score; see `tgrpo_envs.reward_tools.author.selection`."""

    sample: int
    spec_id: str | None
    lint_score: int
    consensus: float
    length: int
    total: float


class Provenance(Frozen):
    """Everything that is known about where a spec came from.

    Attributes:
        bddl_sha256: Digest of the task file.
        vocabulary_id: Digest of the JSON schema of specs.
        template_sha256: Digest of the prompt's templates and examples.
        prompt_sha256: Digest of the prompt as it was rendered.
        versions: Versions of what decides the meaning of a spec.
        channel: Whether a person carried prompt and reply, or an API.
        params: Sampling parameters, as sent.
        replies: Every reply, those that were refused included.
        candidates: Every sample with its score.
    """

    format: Literal["llm-provenance/1"] = "llm-provenance/1"
    suite: str
    task: str
    spec_id: str
    model: str
    channel: Literal["manual", "api"]
    created: str
    bddl_sha256: str
    vocabulary_id: str
    template_sha256: str
    prompt_sha256: str
    versions: dict[str, str]
    params: dict[str, float | int | str]
    findings: tuple[str, ...]
    lint_score: int
    replies: tuple[ReplyRecord, ...]
    candidates: tuple[CandidateRecord, ...] = ()


def make_provenance(
    task: Task,
    card: TaskCard,
    prompt: Prompt,
    review: Review,
    replies: tuple[ReplyRecord, ...],
    *,
    model: str,
    channel: Literal["manual", "api"],
    params: dict[str, float | int | str] | None = None,
    candidates: tuple[CandidateRecord, ...] = (),
) -> Provenance:
    """The record of an accepted spec."""
    assert review.spec is not None
    return Provenance(
        suite=task.suite,
        task=task.name,
        spec_id=spec_id(review.spec),
        model=model,
        channel=channel,
        created=now(),
        bddl_sha256=hashlib.sha256(card.bddl.encode()).hexdigest(),
        vocabulary_id=vocabulary_id(),
        template_sha256=template_sha256(),
        prompt_sha256=prompt.sha256,
        versions={name: version(name) for name in ("tgrpo", "pydantic")},
        params=params or {},
        findings=review.lines,
        lint_score=review.score,
        replies=replies,
        candidates=candidates,
    )


def save_authored(spec: StageSpec, provenance: Provenance, task: Task, folder: Path, *, replace: bool = False) -> Path:
    """Write the spec and, beside it, its provenance; the spec last, so that none is ever without.

    Args:
        spec: The spec.
        provenance: Its provenance.
        task: Its task.
        folder: Where specs are kept.
        replace: Whether it may take the place of another spec that has passed its certificate.

    Raises:
        SpecError: Another spec stands there that has.
    """
    path = spec_path(task, "llm", folder)
    if not replace and has_passed(task, "llm", folder) and spec_id(load_spec(path)) != provenance.spec_id:
        raise SpecError(f"{path} has passed its certificate and is kept; give another --out, or --replace.")
    write_atomically(provenance_path(task, folder), provenance.model_dump_json(indent=2) + "\n")
    save_spec(spec, path)
    return path


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
