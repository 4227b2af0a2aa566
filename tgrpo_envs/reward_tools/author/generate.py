"""Specs of many tasks from a server: several samples a task, the best one kept, every reply on disk."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tgrpo_envs.errors import AuthorError, BudgetError, SpecError
from tgrpo_envs.files import write_atomically
from tgrpo_envs.reward_tools.author.answer import Answer
from tgrpo_envs.reward_tools.author.cache import ReplyCache
from tgrpo_envs.reward_tools.author.cards import TaskCard, load_card
from tgrpo_envs.reward_tools.author.client import ChatServer, ServerTroubleError, ServerUnusableError
from tgrpo_envs.reward_tools.author.ladder import Ladder
from tgrpo_envs.reward_tools.author.ledger import Accounts
from tgrpo_envs.reward_tools.author.prompt import render_prompt
from tgrpo_envs.reward_tools.author.provenance import make_provenance, save_authored
from tgrpo_envs.reward_tools.author.repair import TEMPERATURES, Messages, Sample, write_sample
from tgrpo_envs.reward_tools.author.selection import rank_samples
from tgrpo_envs.reward_tools.author.words import vocabulary_id
from tgrpo_envs.rewards.shipped import has_passed, spec_path
from tgrpo_envs.tasks import Task

NOT_ASKED = "not asked"
SAVED = "spec"
FAILED = "no spec"
CERTIFIED = "certified"
MAX_TROUBLES = 3  # tasks in a row after which a server that fails at each is left alone


@dataclass(frozen=True)
class Outcome:
    """What became of one task.

    Attributes:
        task: The task.
        result: `SAVED`, `FAILED`, `NOT_ASKED`, or `CERTIFIED` where a spec has passed its certificate and is kept.
        note: The file, or what went wrong.
        accepted: Samples that ended with a spec without errors.
        samples: Samples that were asked for.
        replies: Replies in all.
        tokens: Tokens of all replies, prompts included.
        score: Total of the best sample.
    """

    task: Task
    result: str
    note: str
    accepted: int = 0
    samples: int = 0
    replies: int = 0
    tokens: int = 0
    score: float = 0.0


class SpecWriter:
    """Asks a server for specs and files them.

    Args:
        server: The server.
        accounts: What may be spent.
        work: Folder for replies, dialects and rejected attempts.
        out: Folder for specs.
        samples: Specs to ask for, of each task.
        refresh: Ask again even where the reply to the same question is kept.
        replace: Ask, and replace, even where a spec has passed its certificate.
    """

    def __init__(
        self,
        server: ChatServer,
        accounts: Accounts,
        work: Path,
        out: Path,
        *,
        samples: int,
        refresh: bool = False,
        replace: bool = False,
    ) -> None:
        self._server = server
        self._accounts = accounts
        self._work = work
        self._out = out
        self._samples = samples
        self._replace = replace
        self._cache = ReplyCache(work / "replies", refresh=refresh)
        self._ladder = Ladder(server, work / "dialects.json")

    def write_all(self, tasks: Iterable[Task]) -> Iterable[Outcome]:
        """One outcome for each task.

        A task that fails leaves the others alone. They are not asked for where none could succeed: a limit is reached,
        the server takes no request at all, or it has failed at `MAX_TROUBLES` tasks in a row.
        """
        troubles = 0
        for task in tasks:
            if troubles >= MAX_TROUBLES:
                yield Outcome(task, NOT_ASKED, "stopped after an earlier failure")
                continue
            try:
                yield self.write(task)
                troubles = 0
            except (BudgetError, ServerUnusableError) as error:
                troubles = MAX_TROUBLES
                yield Outcome(task, FAILED, str(error))
            except (AuthorError, SpecError) as error:  # or a damaged file stands in its place
                troubles = troubles + 1 if isinstance(error, ServerTroubleError) else 0
                yield Outcome(task, FAILED, str(error))

    def write(self, task: Task) -> Outcome:
        """Ask for the spec of a task and file the best one; without any, keep what came under ``rejected``.

        Raises:
            AuthorError: The server failed or a limit is reached before any sample was accepted.
        """
        if not self._replace and has_passed(task, "llm", self._out):
            return Outcome(task, CERTIFIED, str(spec_path(task, "llm", self._out)))
        card = load_card(task)
        prompt = render_prompt(task, card)
        samples, failure = self._collect(task, card)
        ranked = rank_samples(samples)
        counts = _counts(samples)
        if not ranked or not ranked[0][1].accepted:
            kept = self._keep_rejected(task, samples)
            if failure is not None:
                raise failure
            last = samples[-1]
            note = f"{last.ended}: {'; '.join(last.review.lines[:2])} (replies: {kept}); the compiled spec stays in use"
            return Outcome(task, FAILED, note, **counts)
        record, best = ranked[0]
        assert best.review.spec is not None
        provenance = make_provenance(
            task,
            card,
            prompt,
            best.review,
            tuple(reply for sample in samples for reply in sample.replies),
            model=best.replies[-1].model,
            channel="api",
            params={
                "model_asked": self._server.model,
                "server": self._server.name.split(" ")[0],
                "temperature": TEMPERATURES[0],
                "max_reply_tokens": self._server.limits.max_reply_tokens,
                "sample": best.number,
            },
            candidates=tuple(candidate for candidate, _ in ranked),
        )
        path = save_authored(best.review.spec, provenance, task, self._out, replace=self._replace)
        return Outcome(task, SAVED, str(path), score=record.total, **counts)

    def _collect(self, task: Task, card: TaskCard) -> tuple[list[Sample], AuthorError | None]:
        """The samples, and what kept it from being all of them."""
        samples: list[Sample] = []
        prompt = render_prompt(task, card)
        for number in range(self._samples):

            def answer(messages: Messages, temperature: float, turn: int, number: int = number) -> tuple[Answer, str]:
                self._accounts.about(suite=task.suite, task=task.name, sample=number, round=turn)
                return self._ask(messages, temperature, card, number)

            try:
                samples.append(write_sample(task, card, prompt, answer, number))
            except AuthorError as error:
                return samples, error
            if samples[-1].failure is not None:
                return samples, samples[-1].failure
        return samples, None

    def _ask(self, messages: Messages, temperature: float, card: TaskCard, number: int) -> tuple[Answer, str]:
        question = {
            "server": self._server.name,
            "temperature": temperature,
            "max_reply_tokens": self._server.limits.max_reply_tokens,
            "messages": messages,
            "vocabulary": vocabulary_id(),
            "sample": number,
        }
        kept = self._cache.get(question)
        if kept is not None:
            self._accounts.record("cached", kept[0].usage, 0.0, server=self._server.name)
            return kept
        answer, form = self._ladder.ask(messages, card, temperature)
        self._cache.put(question, answer, form)
        return answer, form

    def _keep_rejected(self, task: Task, samples: Sequence[Sample]) -> Path | None:
        if not samples:
            return None
        path = self._work / "rejected" / task.suite / f"{task.name}.json"
        attempts = [
            {"ended": sample.ended, "replies": [reply.model_dump() for reply in sample.replies]} for sample in samples
        ]
        write_atomically(path, json.dumps(attempts, indent=2) + "\n")
        return path


def _counts(samples: Sequence[Sample]) -> dict[str, int]:
    usages = [reply.usage for sample in samples for reply in sample.replies if reply.usage is not None]
    return {
        "accepted": sum(sample.accepted for sample in samples),
        "samples": len(samples),
        "replies": sum(len(sample.replies) for sample in samples),
        "tokens": sum(usage.prompt_tokens + usage.completion_tokens for usage in usages),
    }
