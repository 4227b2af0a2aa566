"""Judges a reply: finds the spec in it, parses and lints it."""

from __future__ import annotations

import json
from dataclasses import dataclass

from tgrpo_envs.errors import SpecError
from tgrpo_envs.reward_tools.author.cards import TaskCard
from tgrpo_envs.reward_tools.author.reply import extract_document
from tgrpo_envs.reward_tools.lint import Finding, lint_score, lint_text
from tgrpo_envs.rewards.spec import StageSpec
from tgrpo_envs.tasks import Task

NO_SPEC = "E00"  # before any rule of the linter: there is no document to look at


@dataclass(frozen=True)
class Review:
    """What became of a reply.

    Attributes:
        spec: The spec, or None where the reply holds none that parses.
        findings: Everything that is wrong with it.
        score: The linter's score, 0 with errors.
    """

    spec: StageSpec | None
    findings: tuple[Finding, ...]
    score: int

    @property
    def accepted(self) -> bool:
        """Whether there is a spec without errors."""
        return self.spec is not None and not any(finding.is_error for finding in self.findings)

    @property
    def lines(self) -> tuple[str, ...]:
        """The findings as one line each."""
        return tuple(map(str, self.findings))


def review_reply(reply: str, task: Task, card: TaskCard, *, is_cut: bool = False) -> Review:
    """Judge a reply by the same rules, whoever sent it.

    Args:
        reply: What the model wrote.
        task: The task that it is about.
        card: The task's card.
        is_cut: Whether the reply is known to be cut off.
    """
    try:
        document = extract_document(reply, is_cut=is_cut)
    except SpecError as error:
        finding = Finding(NO_SPEC, "", "no spec", "one JSON object", str(error), "reply with the spec alone")
        return Review(None, (finding,), 0)
    spec, findings = lint_text(json.dumps(document), card.problem, task, source="the reply")
    return Review(spec, findings, lint_score(findings))
