"""Forms of request: what a server refuses or ignores is found out from its words and its replies, and remembered."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.author_run import GOOD, MILK, Run
from tests.helpers.fake_chat import fails, padded, says, serving, takes_only
from tgrpo_envs.reward_tools.author.cards import load_card
from tgrpo_envs.reward_tools.author.generate import FAILED, SAVED
from tgrpo_envs.reward_tools.author.ladder import LADDER, Form
from tgrpo_envs.reward_tools.author.wire import spec_schema
from tgrpo_envs.rewards.shipped import spec_path
from tgrpo_envs.rewards.spec import load_spec, parse_spec


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")


FORMS: dict[str, Callable[[dict[str, Any]], bool]] = {
    "schema": lambda body: body.get("response_format", {}).get("type") == "json_schema",
    "object": lambda body: body.get("response_format") == {"type": "json_object"},
    "text": lambda body: "response_format" not in body,
}
OBEDIENT = {"schema": json.dumps(padded(json.loads(GOOD), *[spec_schema(load_card(MILK))] * 2)), "object": GOOD}


@pytest.mark.parametrize("form", LADDER)
def test_the_ladder_finds_what_a_server_takes_and_remembers_it(
    form: Form, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reply = says(OBEDIENT.get(form, f"Gladly: {GOOD}"))
    with serving(takes_only(FORMS[form], reply, "response_format is not supported")) as server:
        (outcome,) = Run(tmp_path, server, monkeypatch).write()
        assert (outcome.result, len(server.requests)) == (SAVED, 1 + LADDER.index(form))
        again = Run(tmp_path, server, monkeypatch, refresh=True)
        again.write()
        assert len(server.requests) == 2 + LADDER.index(form) and again.provenance.replies[0].form == form
    assert load_spec(spec_path(MILK, "llm", again.out)) == parse_spec(GOOD)


def test_a_form_that_a_server_takes_and_ignores_does_not_count_as_working(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(says("Certainly!"), says('{"stages": []}'), says(f"So: {GOOD}")) as server:
        run = Run(tmp_path, server, monkeypatch)
        (outcome,) = run.write()
    assert outcome.result == SAVED
    assert [reply.form for reply in run.provenance.replies] == ["text", "object", "text"]
    asked = [next(form for form, is_it in FORMS.items() if is_it(body)) for body in server.requests]
    assert asked == ["schema", "object", "object"]
    (remembered,) = json.loads((run.work / "dialects.json").read_text()).values()
    assert remembered["form"] == "object"  # it worked once; the schema never did


@pytest.mark.parametrize(
    "complaint",
    [
        "This model's maximum context length is 4096 tokens. However, you requested 13974 tokens",
        "'max_tokens' or 'max_completion_tokens' is too large: 8192. This model's maximum context length is 8192",
        "the request exceeds the available context size, try increasing it",
        "request (7021 tokens) exceeds the available context size (2048 tokens)",
        "Requested tokens (7021) exceed context window of 2048",
        "max_tokens is too large: 8192. This model supports at most 4096 completion tokens.",
        "context too long",
    ],
)
def test_a_prompt_that_does_not_fit_is_said_to_and_not_sent_in_other_forms(
    complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(fails(400, complaint)) as server:
        (outcome,) = Run(tmp_path, server, monkeypatch).write()
    assert (outcome.result, len(server.requests)) == (FAILED, 1)
    assert "--max-reply-tokens" in outcome.note and "larger context" in outcome.note


def test_turns_alternate_whatever_the_replies_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Gemma's template wants it, which also takes no system message."""

    def takes(body: dict[str, Any]) -> bool:
        roles = [message["role"] for message in body["messages"]]
        return all(role == ("user", "assistant")[turn % 2] for turn, role in enumerate(roles))

    complaint = "Conversation roles must alternate user/assistant/user/assistant/...: System role not supported"
    cut, empty, faulty = says(GOOD[:900], finish_reason="length"), says(""), says("no")
    replies = [takes_only(takes, reply, complaint) for reply in (cut, cut, empty, faulty, says(GOOD))]
    with serving(*replies) as server:
        (outcome,) = Run(tmp_path, server, monkeypatch).write()
    assert outcome.result == SAVED and len(server.requests) == 5
    assert all(map(takes, server.requests[1:])) and not takes(server.requests[0])
    assert server.requests[0]["messages"][0]["content"] in server.requests[1]["messages"][0]["content"]


def test_a_server_may_want_other_field_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modern = takes_only(lambda body: "max_tokens" not in body, says(GOOD), "use max_completion_tokens instead")
    with serving(modern) as server:
        (outcome,) = Run(tmp_path, server, monkeypatch).write()
        assert outcome.result == SAVED and server.requests[1]["max_completion_tokens"] == 8192
        assert FORMS["schema"](server.requests[1])  # the form did not have to change for that
    reasoning = takes_only(lambda body: "temperature" not in body, says(GOOD), "temperature is not supported")
    with serving(reasoning) as server:
        (outcome,) = Run(tmp_path, server, monkeypatch).write()
        assert (outcome.result, len(server.requests)) == (SAVED, 2)


def test_a_server_that_takes_no_form_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(fails(400, "no thanks")) as server:
        (outcome,) = Run(tmp_path, server, monkeypatch).write()
    assert (outcome.result, len(server.requests)) == (FAILED, len(LADDER))
    assert "refuses every form" in outcome.note and "no thanks" in outcome.note
