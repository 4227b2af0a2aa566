"""The prompt of a task: a static system message first, so that servers can cache it, then examples and task card."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from importlib import resources

from tgrpo_envs.reward_tools.author.card_text import card_text
from tgrpo_envs.reward_tools.author.cards import TaskCard, load_card
from tgrpo_envs.reward_tools.author.examples import choose_examples
from tgrpo_envs.reward_tools.author.words import atoms_card, ramps_card
from tgrpo_envs.tasks import Task

TEMPLATES = ("system.md", "task.md", "repair.md")
_FOLDER = "reward_tools/author/prompts"


@dataclass(frozen=True)
class Prompt:
    """What is sent for one task.

    Attributes:
        system: Role, vocabulary, rules: the same text for every task.
        user: Examples and the task's card.
    """

    system: str
    user: str

    @property
    def text(self) -> str:
        """Both messages as one text, for pasting."""
        return f"{self.system}\n\n{self.user}\n"

    @property
    def sha256(self) -> str:
        """Digest of `text`."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def messages(self) -> list[dict[str, str]]:
        """The two messages in the form of a chat API."""
        return [{"role": "system", "content": self.system}, {"role": "user", "content": self.user}]


def render_prompt(task: Task, card: TaskCard | None = None) -> Prompt:
    """The prompt of a task.

    Args:
        task: The task.
        card: Its card; by default the shipped one.

    Raises:
        ConfigError: There is no card of the task.
    """
    card = card or load_card(task)
    shown = [
        f"## Example {number}\n{example.show()}" for number, example in enumerate(choose_examples(task, card), start=1)
    ]
    user = _fill("task.md", examples="\n\n".join(shown), card=card_text(card, task))
    return Prompt(system_message(), user)


@functools.cache
def system_message() -> str:
    """The static part."""
    return _fill("system.md", atoms=atoms_card(), ramps=ramps_card())


def repair_message(findings: str) -> str:
    """What is sent after a reply with faults.

    Args:
        findings: The faults, one a line.
    """
    return _fill("repair.md", findings=findings)


def template_sha256() -> str:
    """Digest of all templates and examples: changes when what every prompt is made from does."""
    digest = hashlib.sha256()
    folder = resources.files("tgrpo_envs").joinpath(_FOLDER)
    examples = sorted(entry.name for entry in folder.joinpath("examples").iterdir() if entry.name.endswith(".json"))
    for name in (*TEMPLATES, *(f"examples/{example}" for example in examples)):
        digest.update(name.encode() + b"\0" + folder.joinpath(name).read_bytes() + b"\0")
    return digest.hexdigest()


def _fill(template: str, **texts: str) -> str:
    """A template with its ``{{name}}`` replaced, in one pass: inserted text is never a template itself."""
    text = resources.files("tgrpo_envs").joinpath(f"{_FOLDER}/{template}").read_text(encoding="utf-8").strip()
    parts = text.split("{{")
    filled = [parts[0]]
    for part in parts[1:]:
        name, _, rest = part.partition("}}")
        filled.append(texts[name] + rest)
    return "".join(filled)
