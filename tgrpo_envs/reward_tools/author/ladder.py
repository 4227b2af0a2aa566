"""How to ask a server for JSON: a ladder of request forms from strict schemas to plain text, climbed down once.

Servers that call themselves compatible differ in what they take. The first call to a server and model finds the highest
rung that it accepts; that is remembered in a file, so later runs ask in that form at once.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from tgrpo_envs.errors import AuthorError
from tgrpo_envs.files import write_atomically
from tgrpo_envs.reward_tools.author.answer import Answer
from tgrpo_envs.reward_tools.author.cards import TaskCard
from tgrpo_envs.reward_tools.author.client import ChatServer, RequestRefusedError
from tgrpo_envs.reward_tools.author.wire import full_schema, strict_schema

Form = Literal["strict", "schema", "guided", "tool", "object", "text"]
LADDER: tuple[Form, ...] = ("strict", "schema", "guided", "tool", "object", "text")
SCHEMA_NAME = "stage_spec"


class Dialect(BaseModel):
    """What a server and model take.

    Attributes:
        form: ``strict`` and ``schema`` are response formats with a JSON schema, ``guided`` is vLLM's structured output,
            ``tool`` a tool call, ``object`` any JSON, ``text`` no constraint.
        token_field: Name of the limit on the reply's length; newer OpenAI models take only the second.
        temperature: Whether it takes a temperature; models that reason may not.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    form: Form = LADDER[0]
    token_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    temperature: bool = True

    def easier(self, complaint: str) -> Dialect | None:
        """What to try after a refusal: another field if the server names it, else the next rung; None at the end."""
        if self.token_field == "max_tokens" and "max_completion_tokens" in complaint:
            return self.model_copy(update={"token_field": "max_completion_tokens"})
        if self.temperature and "temperature" in complaint.lower():
            return self.model_copy(update={"temperature": False})
        rung = LADDER.index(self.form) + 1
        return self.model_copy(update={"form": LADDER[rung]}) if rung < len(LADDER) else None


def ask(
    server: ChatServer, messages: list[dict[str, str]], card: TaskCard, temperature: float, memory: Path
) -> tuple[Answer, Form]:
    """Ask for a spec in the best form that the server takes.

    Args:
        server: The server.
        messages: The conversation.
        card: The task's card, for its schema.
        temperature: Of sampling.
        memory: File that remembers dialects by server and model.

    Returns:
        The reply, and the form that was taken.

    Raises:
        BudgetError: The call could exceed a limit.
        AuthorError: The server failed, or refuses every form.
    """
    known = _remembered(memory)
    dialect = known.get(server.name, Dialect())
    while True:
        try:
            answer = server.send(request(dialect, messages, card, temperature, server.limits.max_reply_tokens))
        except RequestRefusedError as error:
            easier = dialect.easier(str(error))
            if easier is None:
                raise AuthorError(f"The server refuses every form of request. {error}") from None
            dialect = easier
            continue
        if known.get(server.name) != dialect:
            remembered = {name: each.model_dump() for name, each in {**known, server.name: dialect}.items()}
            write_atomically(memory, json.dumps(remembered, indent=2) + "\n")
        return answer, dialect.form


def request(
    dialect: Dialect, messages: list[dict[str, str]], card: TaskCard, temperature: float, max_reply_tokens: int
) -> dict[str, Any]:
    """The arguments of a chat request in a dialect."""
    body: dict[str, Any] = {"messages": messages, dialect.token_field: max_reply_tokens}
    if dialect.temperature:
        body["temperature"] = temperature
    if dialect.form in ("strict", "schema"):
        strict = dialect.form == "strict"
        schema = {"name": SCHEMA_NAME, "strict": strict, "schema": (strict_schema if strict else full_schema)(card)}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    elif dialect.form == "guided":
        body["extra_body"] = {"structured_outputs": {"json": full_schema(card)}}
    elif dialect.form == "tool":
        function = {"name": SCHEMA_NAME, "description": "Hand in the spec.", "parameters": full_schema(card)}
        body["tools"] = [{"type": "function", "function": function}]
        body["tool_choice"] = {"type": "function", "function": {"name": SCHEMA_NAME}}
    elif dialect.form == "object":
        body["response_format"] = {"type": "json_object"}
    return body


def _remembered(memory: Path) -> dict[str, Dialect]:
    try:
        return {name: Dialect.model_validate(each) for name, each in json.loads(memory.read_text("utf-8")).items()}
    except (OSError, ValueError, AttributeError, ValidationError):
        return {}  # nothing learned yet, or by another version: a few calls find it out again
