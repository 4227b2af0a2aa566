"""Hostile replies, from a server's answer to the files: each ends in a spec or in one sentence; no key leaks."""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.author_run import GOOD, MILK, SECRET, Run, changed
from tests.helpers.fake_chat import completion, says, sends, serving, writes
from tgrpo_envs.command import visible
from tgrpo_envs.errors import SpecError
from tgrpo_envs.reward_tools.author.generate import FAILED, SAVED
from tgrpo_envs.reward_tools.author.ingest import ingest_reply
from tgrpo_envs.rewards.shipped import certificate_path
from tgrpo_envs.rewards.spec import load_spec, parse_spec

DRAFT = '{"stages": []}'
FENCED = f"```json\n{GOOD}\n```"
LONE = "\ud800"


def message(**fields: Any) -> str:
    """A completion whose message has these fields, lone surrogates as JSON's escapes."""
    return json.dumps(completion(None, message=fields))


def cut(text: str | None, **fields: Any) -> str:
    """The same of a reply that reached its limit."""
    return json.dumps(completion(text, message=fields, finish_reason="length"))


def answer(**fields: Any) -> str:
    return json.dumps(completion(GOOD) | fields)


def called(arguments: object) -> dict[str, Any]:
    return {"tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": arguments}}]}


WITH_A_SPEC = {
    "alone": message(content=GOOD),
    "in a fence": message(content=FENCED),
    "in a fence without a language": message(content=f"```\n{GOOD}\n```"),
    "in a fence that never ends": message(content=f"```json\n{GOOD}"),
    "in tildes": message(content=f"~~~\n{GOOD}\n~~~"),
    "after a byte order mark": message(content="\ufeff" + GOOD),
    "after a draft that was thought": message(content=f"<think>{DRAFT}</think>{GOOD}"),
    "after a thought that never ends": message(content=f"<think>Say {DRAFT}. Then {GOOD}"),
    "after a draft in a fence": message(content=f"```json\n{DRAFT}\n```\nBetter:\n{FENCED}"),
    "after half a draft": message(content=f'{{"stages": [{{"id": "a"\nNo:\n{GOOD}'),
    "after a full draft": message(content=f"{changed(stages=[])}\n{GOOD}"),
    "after braces of prose": message(content="{" * 3000 + GOOD),
    "after much that is no JSON": message(content='{"a": NaN} {"a": 1, "a": 2} ' * 300 + GOOD),
    "before prose with braces": message(content=GOOD + " That {is} all }}}"),
    "with nulls": message(content=changed(maintain=None)),
    "in reasoning_content": message(content=None, reasoning_content=f"Hm. {GOOD}"),
    "in reasoning": message(content="", reasoning=GOOD),
    "in reasoning, beside prose": message(content="Done.", reasoning_content=GOOD),
    "beside a draft in reasoning": message(content=GOOD, reasoning_content=DRAFT),
    "in parts": message(content=[{"type": "text", "text": GOOD[:99]}, {"type": "text", "text": GOOD[99:]}]),
    "in parts of plain text": message(content=[GOOD[:99], GOOD[99:]]),
    "in parts after a thought": message(content=[{"type": "thinking", "thinking": DRAFT}, {"text": GOOD}]),
    "in a part with a value": message(content=[{"type": "text", "text": {"value": GOOD}}]),
    "in a part beside a picture": message(content=[{"type": "image_url", "image_url": {"url": "x"}}, {"text": GOOD}]),
    "as an object": message(content=json.loads(GOOD)),
    "in a tool call": message(content=None, **called(GOOD)),
    "in a tool call as an object": message(content=None, **called(json.loads(GOOD))),
    "with lone surrogates as text": message(content=f"{LONE} {GOOD} {LONE}"),
    "with a lone surrogate in a rationale": message(content=GOOD.replace("A slim carton", LONE)),
    "with an escaped lone surrogate": message(content=GOOD.replace("A slim carton", "\\ud800")),
    "with lone surrogates in every field": json.dumps(
        completion(GOOD, finish_reason=LONE) | {"model": LONE, "id": LONE, "system_fingerprint": LONE, LONE: LONE}
    ),
    "without a model": answer(model=None),
    "with a model that is a number": answer(model=3, id=[], system_fingerprint={}),
    "with no usage": answer(usage=None),
    "with nonsense for usage": answer(usage={"prompt_tokens": "many", "completion_tokens": -1}),
    "with usage of NaN's kind": answer(usage={"prompt_tokens": 1.5, "completion_tokens": True}),
    "with unknown fields": answer(service_tier={"a": [1]}, created="x"),
    "beside tool calls that are none": message(content=GOOD, tool_calls=[{}]),
    "behind a byte order mark of the body": "\ufeff" + message(content=GOOD),
    "with refusal null": message(content=GOOD, refusal=None),
    "with refusal empty": message(content=GOOD, refusal=""),
    "with refusal of another type": message(content=GOOD, refusal=7),
}
WITHOUT = {
    "nothing": message(content=None),
    "no message": json.dumps({"choices": [{}]}),
    "no choices": json.dumps({"choices": []}),
    "choices that are none": json.dumps({"choices": "x"}),
    "a list": "[1]",
    "a number": "17",
    "no JSON": "<html>",
    "no body": "",
    "NaN": '{"choices": NaN}',
    "a body of arrays": "[" * 100_000,
    "a body of objects": '{"a":' * 50_000,
    "an error with status 200": json.dumps({"error": {"message": "no"}}),
    "a stream": 'data: {"choices": [{"delta": {}}]}\n\ndata: [DONE]\n\n',
    "a message that is a list": json.dumps({"choices": [{"message": []}]}),
    "tool calls that are none": message(content=None, tool_calls=[{}]),
    "a tool call of a text": message(content=None, tool_calls="x"),
    "content that is a number": message(content=5),
    "content of numbers": message(content=[1, None, True]),
    "white space": message(content=" \n\t" * 50),
    "prose": message(content="I would rather chat."),
    "a draft": message(content=DRAFT),
    "a draft, then a broken spec": message(content=f"{GOOD}\nFinal:\n{GOOD.replace('[', '[,', 1)}"),
    "a draft that was thought, then prose": message(content=f"<think>{GOOD}</think>Sorry, I cannot do this."),
    "a draft in reasoning that was cut off": cut("", reasoning_content=f"First: {GOOD}. That is wrong because"),
    "a draft in reasoning that was cut off at its end": cut(None, reasoning=GOOD),
    "a draft, then half a spec": cut(f"First: {GOOD} No: {GOOD[:40]}"),
    "a draft that was thought, then half a spec": cut(f"<think>{GOOD}</think>{GOOD[:-200]}"),
    "half a spec, beside a draft in reasoning": cut(GOOD[:-200], reasoning_content=GOOD),
    "half a spec": message(content=GOOD[:-200]),
    "a list of nothing": message(content="[]"),
    "a text in JSON": message(content=json.dumps(GOOD)),
    "a key twice": message(content='{"stages": [], ' + GOOD[1:]),
    "a number without end": message(content=GOOD.replace('"effort": 1', f'"effort": {"9" * 5000}')),
    "an infinite number": message(content=GOOD.replace('"within_m": 0.05', '"within_m": 1e999')),
    "code": message(content='```python\n__import__("os").system("x")\n```'),
    "quotes and backslashes": message(content='"\\' * 32_000),
    "quotes": message(content='"' * 65_000),
    "open objects": message(content='{"a":1 ' * 9000),
    "braces": message(content="{" * 65_000),
    "deep objects": message(content='{"stages":' * 6000),
    "deep arrays": message(content='{"stages": ' + "[" * 60_000),
    "a long text": message(content="x" * 70_000),
    "a long spec": message(content=GOOD + " " * 70_000),
    "a huge spec": message(content=changed(stages=json.loads(GOOD)["stages"] * 30)),
    "lone surrogates": message(content=LONE * 60_000),
    "lone surrogates for names": message(content=GOOD.replace("milk_1", LONE)),
    "a lone surrogate for a field": message(content=GOOD.replace('"effort"', '"\\udfff"')),
    "null characters": message(content="\0" * 1000),
    "control characters in a text": message(content=GOOD.replace("A slim carton", "\x01")),
    "an unknown field": message(content=changed(success="always")),
    "another task's": message(content=changed(task={"suite": "libero_goal", "name": "turn_on_the_stove"})),
    "a word of its own": message(content=GOOD.replace('"lifted"', '"levitated"')),
    "a refusal": message(refusal="I cannot."),
    "a refusal in a part": message(content=[{"type": "refusal", "refusal": f"No {LONE}"}]),
    "a refusal that clears the screen": message(refusal="\x1b[2J\x1b]0;owned\x07"),
    "an invisible letter in a field": message(content=GOOD.replace('"stages"', '"st\u200bages"')),
    "a refusal with a key": message(refusal=f"Not with {SECRET}"),
}


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)


def outcome_of(body: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Run, str, str]:
    """What becomes of a body, which every later run meets in the cache as well."""
    with serving(sends(body)) as server:
        run = Run(folder, server, monkeypatch)
        (first,) = run.write()
        run = Run(folder, server, monkeypatch)
        (again,) = run.write()
    assert (again.result, again.accepted) == (first.result, first.accepted)
    assert SECRET not in first.note + again.note
    json.dumps(first.note).encode()
    first.note.encode("utf-8")  # can be printed
    return run, first.result, first.note


@pytest.mark.parametrize("body", WITH_A_SPEC.values(), ids=WITH_A_SPEC)
def test_a_spec_is_found_wherever_a_server_puts_it(body: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, result, note = outcome_of(body, tmp_path, monkeypatch)
    assert result == SAVED, note
    assert (
        load_spec(Path(note)) == parse_spec(GOOD) or "rationale" in body
    )  # rationales are no part of a spec's identity
    assert run.provenance.replies[0].text


@pytest.mark.parametrize("body", WITHOUT.values(), ids=WITHOUT)
def test_what_holds_no_spec_ends_in_one_sentence(body: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, result, note = outcome_of(body, tmp_path, monkeypatch)
    assert result == FAILED and note and len(note) < 3000 and "Traceback" not in note
    assert not run.out.exists()
    assert "\x1b" not in visible(note) and "\u200b" not in visible(note)  # as the command prints it
    assert SECRET not in run.all_text()


ESCAPES = {
    "plain": lambda key: key,
    "JSON, all characters": lambda key: "".join(f"\\u{ord(each):04x}" for each in key),
    "JSON, upper case": lambda key: "".join(f"\\u{ord(each):04X}" for each in key),
    "JSON, one character": lambda key: f"\\u{ord(key[0]):04x}{key[1:]}",
    "JSON in JSON": lambda key: "".join(f"\\\\u{ord(each):04x}" for each in key),
    "Python": lambda key: "".join(f"\\x{ord(each):02x}" for each in key),
    "an address": lambda key: "".join(f"%{ord(each):02X}" for each in key),
    "HTML": lambda key: "".join(f"&#{ord(each)};" for each in key),
    "HTML, hexadecimal": lambda key: "".join(f"&#x{ord(each):x};" for each in key),
    "dashes escaped": lambda key: key.replace("-", "\\-"),
    "cut by our own limit on what is shown": lambda key: " " * 490 + "-" * 480 + key,
}


@pytest.mark.parametrize("key", [SECRET, "Zq7-tool/key+of=nobody", "pw4x"], ids=["sk", "other", "short"])
@pytest.mark.parametrize("escape", ESCAPES.values(), ids=ESCAPES)
def test_a_key_reaches_no_file_in_any_field_or_escape(
    escape: Callable[[str], str], key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    told = escape(key)
    spec = GOOD.replace("A slim carton", "told")
    echo = completion(spec.replace("told", json.dumps(told)[1:-1])) | {"model": told, "id": told, told: told}
    echo["system_fingerprint"] = echo["choices"][0]["finish_reason"] = told
    refusal = completion(None, message={"refusal": told, "reasoning_content": told})
    raw = json.dumps(completion(None)).replace("null", f'"{told}"') if "\\u" in told else "{}"
    for number, behave in enumerate(
        [
            *(sends(json.dumps(body)) for body in (echo, refusal)),
            sends(raw),
            sends(told),
            sends(told, 401),
            sends(told, 400),
        ]
    ):
        with serving(behave) as server:
            run = Run(tmp_path / str(number), server, monkeypatch)
            (outcome,) = run.write()
        everything = run.all_text() + outcome.note
        for trace in (key, told.strip(), key[: len(key) * 2 // 3] if len(key) > 8 else key):
            assert trace not in everything and json.dumps(trace)[1:-1] not in everything
            assert trace not in urllib.parse.unquote(everything)


def test_a_key_that_no_header_can_carry_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    from tgrpo_envs.errors import ConfigError
    from tgrpo_envs.reward_tools.author.client import ChatServer, Limits
    from tgrpo_envs.reward_tools.author.ledger import Accounts

    for key in ("sk-\u00e9t\u00e9-12345678", "sk-two words-1234", "sk-line\nbreak-1234", f"sk-{LONE}"):
        monkeypatch.setattr("os.environ", {"OPENAI_API_KEY": key})
        with pytest.raises(ConfigError, match="printable ASCII") as error:
            ChatServer("m", Accounts(), Limits())
        assert key not in str(error.value)


@pytest.mark.parametrize("charset", ["hex", "rot13", "utf-16", "nonsense"])
def test_a_charset_that_is_none_does_no_harm(charset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    headers = {"Content-Type": f"application/json; charset={charset}"}
    with serving(sends(message(content=GOOD), headers=headers)) as server:
        (outcome,) = Run(tmp_path, server, monkeypatch).write()
    assert outcome.result == SAVED


def http(body: bytes, *headers: bytes) -> bytes:
    return b"\r\n".join([b"HTTP/1.1 200 OK", *headers, b"", body])


BODY = message(content=GOOD).encode()


@pytest.mark.parametrize(
    ("data", "result"),
    [
        (http(BODY), SAVED),  # to the connection's end
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 2000 + http(BODY), SAVED),
        (http(message(content=GOOD).encode("utf-16")), FAILED),
        (http(BODY, b"Transfer-Encoding: chunked").replace(BODY, b"zz\r\n" + BODY), FAILED),
        (http(BODY, b"Content-Length: 5", b"Content-Length: 7"), FAILED),
        (b"\x15\x03\x01\x00\x02\x02\x28", FAILED),  # TLS says no
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n", FAILED),
    ],
)
def test_http_that_is_hardly_any_ends_in_a_spec_or_a_sentence(
    data: bytes, result: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(writes(data)) as server:
        run = Run(tmp_path, server, monkeypatch)
        (outcome,) = run.write()
    assert outcome.result == result and "Traceback" not in outcome.note
    assert SECRET not in outcome.note + run.all_text()


DEEP = b"[" * 100_000
SPOILT = {"deep": DEEP, "no text": b"\xff", "a list": b"[1]", "nothing": b""}


@pytest.mark.parametrize("spoilt", SPOILT.values(), ids=SPOILT)
def test_spoilt_files_of_earlier_runs_cost_another_question_and_no_more(
    spoilt: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(says(GOOD)) as server:
        run = Run(tmp_path, server, monkeypatch)
        run.write()
        for path in (run.work / "dialects.json", *(run.work / "replies").rglob("*.json")):
            path.write_bytes(spoilt)
        (outcome,) = Run(tmp_path, server, monkeypatch).write()
        assert outcome.result == SAVED and len(server.requests) == 2


def test_a_kept_reply_is_cleaned_as_a_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Versions before 0.3 kept lone surrogates, which no file of ours can hold."""
    with serving(says(GOOD)) as server:
        run = Run(tmp_path, server, monkeypatch)
        run.write()
        (path,) = (run.work / "replies").rglob("*.json")
        kept = json.loads(path.read_text())
        kept["answer"]["text"] = f"{LONE} {SECRET} {GOOD}"
        path.write_text(json.dumps(kept))
        run = Run(tmp_path, server, monkeypatch)
        (outcome,) = run.write()
        assert outcome.result == SAVED and len(server.requests) == 1
    assert SECRET not in run.provenance.replies[0].text and "?" in run.provenance.replies[0].text


@pytest.mark.parametrize("spoilt", [DEEP, b"\xff"], ids=["deep", "no text"])
def test_spoilt_files_beside_a_spec_are_named(spoilt: bytes, tmp_path: Path) -> None:
    path, _ = ingest_reply(MILK, GOOD, "a model", tmp_path)
    certificate_path(MILK, "llm", tmp_path).write_bytes(spoilt)
    with pytest.raises(SpecError, match=r"certificate .* cannot be read"):
        ingest_reply(MILK, GOOD.replace("0.05", "0.06", 1), "a model", tmp_path)
    path.with_name(f"{MILK.name}.llm.refused.json").write_bytes(spoilt)
    with pytest.raises(SpecError, match="Cannot read the refused replies"):
        ingest_reply(MILK, "no", "a model", tmp_path)
