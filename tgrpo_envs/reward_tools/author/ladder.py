"""How to ask a server for JSON: by schema, as any JSON, or in words alone; what it does not take is not asked again.

Servers that call themselves compatible differ in what they take, and some ignore what they do not know. So a form
counts as working only when a reply obeys it; that is remembered in a file, and later runs ask in that form at once.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from tgrpo_envs.base_settings import Frozen
from tgrpo_envs.errors import AuthorError
from tgrpo_envs.files import read_json, write_atomically
from tgrpo_envs.reward_tools.author.answer import Answer
from tgrpo_envs.reward_tools.author.cards import TaskCard
from tgrpo_envs.reward_tools.author.client import ChatServer, RequestRefusedError
from tgrpo_envs.reward_tools.author.reply import parse_json, without_thoughts
from tgrpo_envs.reward_tools.author.wire import spec_schema

Form = Literal["schema", "object", "text"]
LADDER: tuple[Form, ...] = ("schema", "object", "text")
SCHEMA_NAME = "stage_spec"

# A template without a system role may say no more than that roles must alternate; ours do otherwise.
_SYSTEM_ROLE = re.compile(r"system.{0,12}(role|message|prompt)|alternat")


class Dialect(Frozen):
    """What a server and model take.

    Attributes:
        form: ``schema`` is a response format with a strict JSON schema, ``object`` one of any JSON, ``text`` none.
        token_field: Name of the limit on the reply's length; newer OpenAI models take only the second.
        temperature: Whether it takes a temperature; models that reason may not.
        system: Whether the model's template takes a system message; else its text stands before the user's.
    """

    form: Form = LADDER[0]
    token_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    temperature: bool = True
    system: bool = True

    def after(self, complaint: str) -> Dialect | None:
        """What to try after a refusal: without what the server names, else the next form; None at the end."""
        if self.token_field == "max_tokens" and "max_completion_tokens" in complaint:
            return self.model_copy(update={"token_field": "max_completion_tokens"})
        if self.temperature and "temperature" in complaint:
            return self.model_copy(update={"temperature": False})
        if self.system and _SYSTEM_ROLE.search(complaint):
            return self.model_copy(update={"system": False})
        return self.next_form()

    def next_form(self) -> Dialect | None:
        """The same with the form below; None at the end."""
        rung = LADDER.index(self.form) + 1
        return self.model_copy(update={"form": LADDER[rung]}) if rung < len(LADDER) else None


class Ladder:
    """The dialect that a server is asked in, found out call by call.

    Args:
        server: The server.
        memory: File that remembers dialects that worked, by server and model.
    """

    def __init__(self, server: ChatServer, memory: Path) -> None:
        self._server = server
        self._memory = memory
        self._dialect = _remembered(memory).get(server.name, Dialect())

    def ask(self, messages: list[dict[str, str]], card: TaskCard, temperature: float) -> tuple[Answer, Form]:
        """Ask for a spec in the best form that the server takes.

        Args:
            messages: The conversation; users and assistant alternate.
            card: The task's card, for its schema.
            temperature: Of sampling.

        Returns:
            The reply, and the form that it obeys.

        Raises:
            BudgetError: The call could exceed a limit.
            AuthorError: The server failed, or refuses every form.
        """
        most = self._server.limits.max_reply_tokens
        dialect, said = self._dialect, ""
        while True:
            try:
                answer = self._server.send(request(dialect, messages, card, temperature, most))
                break
            except RequestRefusedError as error:
                said = said or str(error)  # the first complaint is about the best form
                easier = dialect.after(error.complaint)
                if easier is None:
                    raise AuthorError(f"The server refuses every form of request; at first: {said}") from None
                dialect = easier
        self._dialect = dialect
        if not _can_judge(answer) or obeys(answer, dialect.form, card):
            if _can_judge(answer):
                self._remember()
            return answer, dialect.form
        self._dialect = dialect.next_form() or dialect  # the server took the form and ignored it
        return answer, "text"

    def _remember(self) -> None:
        known = _remembered(self._memory)
        if known.get(self._server.name) != self._dialect:
            documents = {name: each.model_dump() for name, each in {**known, self._server.name: self._dialect}.items()}
            write_atomically(self._memory, json.dumps(documents, indent=2) + "\n")


def request(
    dialect: Dialect, messages: list[dict[str, str]], card: TaskCard, temperature: float, max_reply_tokens: int
) -> dict[str, Any]:
    """The arguments of a chat request in a dialect."""
    if not dialect.system and messages[0]["role"] == "system":
        text = f"{messages[0]['content']}\n\n{messages[1]['content']}"
        messages = [{"role": "user", "content": text}, *messages[2:]]
    body: dict[str, Any] = {"messages": messages, dialect.token_field: max_reply_tokens}
    if dialect.temperature:
        body["temperature"] = temperature
    if dialect.form == "schema":
        schema = {"name": SCHEMA_NAME, "strict": True, "schema": spec_schema(card)}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    elif dialect.form == "object":
        body["response_format"] = {"type": "json_object"}
    return body


def obeys(answer: Answer, form: Form, card: TaskCard) -> bool:
    """Whether a whole reply is what its form asks for: an object, with exactly the schema's fields."""
    if form == "text":
        return True
    try:
        document = parse_json(without_thoughts(answer.text))
    except ValueError:
        return False
    if form == "object" or not isinstance(document, dict):
        return isinstance(document, dict)
    schema = spec_schema(card)
    fields = schema["$defs"]["stage"]["properties"].keys()
    stages = document.get("stages")
    return document.keys() == schema["properties"].keys() and isinstance(stages, list) and all(
        isinstance(stage, dict) and stage.keys() == fields for stage in stages
    )  # fmt: skip


def _can_judge(answer: Answer) -> bool:
    """Whether the reply says anything about its form: half a reply and a refusal do not."""
    return answer.finish_reason not in ("length", "content_filter") and not answer.refusal and bool(answer.text.strip())


def _remembered(memory: Path) -> dict[str, Dialect]:
    try:
        return {name: Dialect.model_validate(each) for name, each in read_json(memory).items()}
    except (OSError, ValueError, AttributeError, ValidationError):
        return {}  # nothing learned yet, or by another version: a few calls find it out again
