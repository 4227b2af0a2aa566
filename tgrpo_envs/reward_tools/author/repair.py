"""From a prompt to an accepted spec: ask, review, send the findings back, at most three times."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from tgrpo_envs.errors import AuthorError
from tgrpo_envs.reward_tools.author.answer import Answer
from tgrpo_envs.reward_tools.author.cards import TaskCard
from tgrpo_envs.reward_tools.author.prompt import Prompt, repair_message
from tgrpo_envs.reward_tools.author.provenance import ReplyRecord, now
from tgrpo_envs.reward_tools.author.review import NO_SPEC, Review, review_reply
from tgrpo_envs.reward_tools.lint import Finding
from tgrpo_envs.rewards.spec import spec_id
from tgrpo_envs.tasks import Task

MAX_REPAIRS = 3
TEMPERATURES = (0.7, 0.5, 0.3, 0.2)  # variety in the first reply, care in the repairs
MAX_FINDINGS = 20  # sent back at once
MAX_ECHO_CHARS = 16_384  # of a faulty reply, the size of the largest spec file

Messages = list[dict[str, str]]
Ask = Callable[[Messages, float, int], tuple[Answer, str]]
"""From messages, temperature and round to the reply and the form in which it was asked for."""


@dataclass(frozen=True)
class Sample:
    """One attempt at a spec, with its repairs.

    Attributes:
        number: Which of the samples.
        replies: Every reply, in order.
        review: What the last one came to.
        ended: Why it ended: ``accepted``, ``refused``, ``repeated itself``, ``out of repairs`` or ``cut short``.
        failure: What cut it short.
    """

    number: int
    replies: tuple[ReplyRecord, ...]
    review: Review
    ended: str
    failure: AuthorError | None = None

    @property
    def accepted(self) -> bool:
        """Whether it ended with a spec without errors."""
        return self.review.accepted


def write_sample(task: Task, card: TaskCard, prompt: Prompt, ask: Ask, number: int) -> Sample:
    """Ask for a spec until one is accepted, the model repeats itself or refuses, or the repairs are used up.

    Each repair sends the prompt, the last reply and what is wrong with it, never the whole history.

    Raises:
        AuthorError: The server failed, or a limit is reached, before the first reply.
    """
    replies: list[ReplyRecord] = []
    seen: set[str] = set()
    review = Review(None, (), 0)
    messages = prompt.messages
    for turn, temperature in enumerate(TEMPERATURES[: MAX_REPAIRS + 1]):
        try:
            answer, form = ask(messages, temperature, turn)
        except AuthorError as error:
            if not replies:
                raise
            return Sample(number, tuple(replies), review, "cut short", error)
        review = judge(answer, task, card)
        replies.append(_record(number, turn, temperature, answer, form, review))
        identity = replies[-1].spec_id or answer.text
        ended = "accepted" if review.accepted else "refused" if _refused(answer) else ""
        if not ended and answer.text and identity in seen:  # thoughts without end leave no text, and differ
            ended = "repeated itself"
        if ended:
            return Sample(number, tuple(replies), review, ended)
        seen.add(identity)
        findings = "\n".join(f"- {line}" for line in _most_important(review))
        messages = _with_findings(prompt, answer, repair_message(findings))
    return Sample(number, tuple(replies), review, "out of repairs")


def judge(answer: Answer, task: Task, card: TaskCard) -> Review:
    """Review a reply, with its own findings where the model refused or was cut off."""
    if _refused(answer):
        said = answer.refusal or "its content filter stepped in"
        return _fault("a refusal", f"the model refused: {said}", "ask another model, or write the spec by hand")
    review = review_reply(answer.text, task, card, is_cut=answer.is_cut)
    if review.accepted or not answer.is_cut:
        return review
    why = f"the reply was cut off after {answer.usage.completion_tokens} tokens"
    cut = _fault("half a reply", why, "shorten rationales, use fewer stages, and write nothing but the spec")
    return replace(cut, findings=(*cut.findings, *review.findings))


def _fault(got: str, why: str, hint: str) -> Review:
    return Review(None, (Finding(NO_SPEC, "", got, "one JSON object", why, hint),), 0)


def _refused(answer: Answer) -> bool:
    return answer.refusal is not None or answer.finish_reason == "content_filter"


def _with_findings(prompt: Prompt, answer: Answer, findings: str) -> Messages:
    """The prompt, the reply and what is wrong with it, as turns that alternate: many templates take no others.

    Half a reply, an empty or a very long one is not worth sending back; then the findings end the prompt.
    """
    text = answer.text
    if answer.is_cut or not text.strip() or len(text) > MAX_ECHO_CHARS:
        system, user = prompt.messages
        return [system, {"role": "user", "content": f"{user['content']}\n\n{findings}"}]
    reply = {"role": "assistant", "content": text}
    return [*prompt.messages, reply, {"role": "user", "content": findings}]


def _most_important(review: Review) -> list[str]:
    """Errors before warnings, not more than a model can heed."""
    ordered = sorted(review.findings, key=lambda finding: not finding.is_error)
    return [str(finding) for finding in ordered[:MAX_FINDINGS]]


def _record(number: int, turn: int, temperature: float, answer: Answer, form: str, review: Review) -> ReplyRecord:
    return ReplyRecord(
        sample=number,
        round=turn,
        form=form,
        text=answer.text,
        findings=review.lines,
        spec_id=spec_id(review.spec) if review.spec else None,
        created=now(),
        model=answer.model,
        fingerprint=answer.fingerprint,
        temperature=temperature,
        response_id=answer.response_id,
        finish_reason=answer.finish_reason,
        usage=answer.usage,
    )
