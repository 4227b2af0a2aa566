"""The author against a server that refuses, errs, floods and stalls: a repaired spec or one clear error, in budget."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.author_run import GOOD, MILK, SECRET, Run, changed
from tests.helpers.fake_chat import (
    Behaviour,
    completion,
    drips,
    fails,
    hangs,
    hangs_up,
    says,
    sends,
    serving,
)
from tgrpo_envs.errors import AuthorError, ConfigError
from tgrpo_envs.reward_tools.author.client import ChatServer, Limits
from tgrpo_envs.reward_tools.author.commands import generate
from tgrpo_envs.reward_tools.author.generate import FAILED, NOT_ASKED, SAVED
from tgrpo_envs.reward_tools.author.ledger import Accounts
from tgrpo_envs.rewards.shipped import certificate_path, spec_path
from tgrpo_envs.rewards.spec import load_spec, parse_spec, spec_id
from tgrpo_envs.tasks import get_task

BUTTER = get_task("libero_object", "pick_up_the_butter_and_place_it_in_the_basket")


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)


def test_a_good_reply_is_filed_with_where_it_came_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(says(GOOD)) as server:
        run = Run(tmp_path, server, monkeypatch)
        (outcome,) = run.write()
    assert (outcome.result, outcome.accepted, outcome.replies, outcome.tokens) == (SAVED, 1, 1, 5700)
    spec = load_spec(spec_path(MILK, "llm", run.out))
    assert spec == parse_spec(GOOD)
    record = run.provenance
    assert (record.spec_id, record.model, record.channel) == (spec_id(spec), "served-model", "api")
    assert record.replies[0].text == GOOD and record.replies[0].form == "text"  # it is no object of the schema
    assert record.params["model_asked"] == "asked-model"
    (call,) = run.ledger
    assert (call["status"], call["prompt_tokens"], call["task"], call["estimated"]) == ("ok", 5000, MILK.name, False)
    assert server.requests[0]["response_format"]["json_schema"]["strict"] is True
    assert [message["role"] for message in server.requests[0]["messages"]] == ["system", "user"]


@pytest.mark.parametrize(
    ("reply", "says_why"),
    [
        (GOOD[:-200], "not one JSON object"),
        ("I would rather chat.", "not one JSON object"),
        ("", "not one JSON object"),
        (GOOD.replace('"milk_1"', '"milk_7"'), "milk_7"),
        (GOOD.replace('"lifted"', '"levitated"'), "levitated"),
        (changed(task={"suite": BUTTER.suite, "name": BUTTER.name}), "E13"),
        (GOOD.replace('"within_m": 0.05', '"within_m": NaN'), "NaN"),
        (GOOD.replace('"within_m": 0.05', '"within_m": 1e999'), "too large"),
        (GOOD.replace('"effort": 1', f'"effort": {"9" * 5000}'), "not one JSON object"),
        (GOOD.replace('"within_m": 0.05', '"within_m": 1e300'), "within_m"),
        (changed(success="always"), "success"),
        ("[" * 5000 + "]" * 5000, "nested deeper"),
        (GOOD + " " * 70_000, "characters"),
    ],
    ids=lambda value: None if len(str(value)) > 40 else str(value),
)
def test_faulty_replies_are_sent_back_with_what_is_wrong_and_repaired(
    reply: str, says_why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(says(reply), says(GOOD)) as server:
        run = Run(tmp_path, server, monkeypatch)
        (outcome,) = run.write()
    assert (outcome.result, outcome.replies) == (SAVED, 2)
    repair = server.requests[1]["messages"][-1]
    assert repair["role"] == "user" and says_why in repair["content"]
    first, second = run.provenance.replies
    assert first.text == reply[: len(first.text)] and second.text == GOOD and (first.round, second.round) == (0, 1)
    assert first.findings and not any(line.startswith("E") for line in second.findings)


def test_prose_around_the_spec_needs_no_repair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(says(f"Here {{it}} is:\n```json\n{GOOD}\n```\nHope that helps!")) as server:
        (outcome,) = Run(tmp_path, server, monkeypatch).write()
    assert (outcome.result, outcome.replies) == (SAVED, 1)


def test_a_cut_reply_is_asked_for_again_in_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(says(GOOD[:900], finish_reason="length"), says(GOOD)) as server:
        (outcome,) = Run(tmp_path, server, monkeypatch).write()
    assert outcome.result == SAVED
    repair = server.requests[1]["messages"]
    assert "cut off after 700 tokens" in repair[-1]["content"]
    assert [message["role"] for message in repair] == ["system", "user"]  # half a reply is not sent back
    assert server.requests[0]["messages"][1]["content"] in repair[1]["content"]


@pytest.mark.parametrize(
    "refusal",
    [says(None, message={"refusal": "I cannot help."}), says("", finish_reason="content_filter")],
    ids=["refusal", "content filter"],
)
def test_a_refusal_is_one_clear_error(refusal: Behaviour, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(refusal) as server:
        run = Run(tmp_path, server, monkeypatch)
        (outcome,) = run.write()
    assert (outcome.result, len(server.requests)) == (FAILED, 1)
    assert "the model refused" in outcome.note and "compiled spec stays" in outcome.note
    assert not run.out.exists()
    (attempt,) = json.loads((run.work / "rejected" / MILK.suite / f"{MILK.name}.json").read_text())
    assert attempt["ended"] == "refused" and len(attempt["replies"]) == 1


def test_a_model_that_repeats_itself_is_not_asked_forever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(says("no")) as server:
        (outcome,) = Run(tmp_path, server, monkeypatch).write()
    assert (outcome.result, len(server.requests)) == (FAILED, 2)
    assert "repeated itself" in outcome.note


def test_at_most_three_repairs_and_every_reply_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(*(says(f"no {number}") for number in range(9))) as server:
        run = Run(tmp_path, server, monkeypatch)
        (outcome,) = run.write()
    assert (outcome.result, len(server.requests)) == (FAILED, 4)
    assert "out of repairs" in outcome.note
    kept = json.loads((run.work / "rejected" / MILK.suite / f"{MILK.name}.json").read_text())
    assert [reply["text"] for reply in kept[0]["replies"]] == [f"no {number}" for number in range(4)]
    temperatures = [request["temperature"] for request in server.requests]
    assert temperatures == sorted(temperatures, reverse=True) and temperatures[0] == 0.7 and temperatures[-1] == 0.2


def test_a_reply_of_ten_megabytes_is_hung_up_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(says("x" * 10_000_000)) as server:
        run = Run(tmp_path, server, monkeypatch)
        (outcome,) = run.write()
    assert (outcome.result, len(server.requests)) == (FAILED, 1)
    assert "more than 1000000 bytes" in outcome.note
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) < 100_000


def test_a_compressed_body_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(sends(json.dumps(completion(GOOD)), headers={"Content-Encoding": "gzip"})) as server:
        (outcome,) = Run(tmp_path, server, monkeypatch).write()
    assert outcome.result == FAILED and "compressed with gzip" in outcome.note
    assert server.headers[0]["accept-encoding"] == "identity"


@pytest.mark.parametrize(("status", "calls"), [(401, 1), (403, 1), (404, 1), (500, 3), (503, 3), (429, 3)])
def test_errors_that_may_pass_are_retried_and_others_are_not(
    status: int, calls: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(fails(status, f"bad key {SECRET}")) as server:
        run = Run(tmp_path, server, monkeypatch)
        outcomes = run.write(*[MILK] * 4)
    asked = 1 if calls == 1 else 3  # a wrong key is wrong for all tasks; trouble at three in a row is the server's
    assert [outcome.result for outcome in outcomes] == [FAILED] * asked + [NOT_ASKED] * (4 - asked)
    assert len(server.requests) == calls * asked == run.accounts.calls
    assert f"answered {status}" in outcomes[0].note
    assert [call["status"] for call in run.ledger] == [str(status)] * calls * asked
    assert SECRET not in outcomes[0].note + run.all_text() and "[key]" in outcomes[0].note


def test_a_short_trouble_is_waited_out_for_as_long_as_the_server_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    naps: list[float] = []

    async def sleep(seconds: float) -> None:
        naps.append(seconds)

    monkeypatch.setattr("anyio.sleep", sleep)
    with serving(fails(429, headers={"Retry-After": "7"}), fails(500), says(GOOD)) as server:
        (outcome,) = Run(tmp_path, server, monkeypatch).write()
    assert outcome.result == SAVED and naps == [7, 0.01]


def test_one_task_whose_requests_fail_does_not_end_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(fails(500), fails(500), fails(500), fails(400, "context too long"), says(GOOD)) as server:
        outcomes = Run(tmp_path, server, monkeypatch).write(MILK, MILK, MILK)
    assert [outcome.result for outcome in outcomes] == [FAILED, FAILED, SAVED]


def test_a_server_that_asks_for_an_hour_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(fails(429, headers={"Retry-After": "3600"})) as server:
        (outcome,) = Run(tmp_path, server, monkeypatch).write()
    assert (outcome.result, len(server.requests)) == (FAILED, 1)


def test_a_dropped_connection_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(hangs_up, says(GOOD)) as server:
        run = Run(tmp_path, server, monkeypatch)
        (outcome,) = run.write()
    assert (outcome.result, len(server.requests)) == (SAVED, 2)
    assert run.ledger[0]["status"] == "failed" and run.ledger[0]["estimated"]


@pytest.mark.parametrize(
    "stall", [hangs(60), drips(60), drips(60, headers=True)], ids=["silence", "a dripped body", "a dripped header"]
)
def test_a_server_that_stalls_is_one_clear_error_and_not_waited_for_again(
    stall: Behaviour, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = time.monotonic()
    with serving(stall) as server:
        run = Run(tmp_path, server, monkeypatch, timeout_s=0.5)
        (outcome,) = run.write()
    assert outcome.result == FAILED and "no whole reply in 0.5 s" in outcome.note and "--timeout-s" in outcome.note
    assert [call["status"] for call in run.ledger] == ["timeout"] and run.ledger[0]["estimated"]
    assert time.monotonic() - began < 50  # it would have gone on for 60 s


@pytest.mark.parametrize("body", ["<html>", "{}", '{"choices": []}', '{"choices": [{"message": "x"}]}', "[1]"])
def test_what_is_no_chat_completion_is_one_clear_error(
    body: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(sends(body)) as server:
        (outcome,) = Run(tmp_path, server, monkeypatch).write()
    assert (outcome.result, len(server.requests)) == (FAILED, 1)
    assert "no chat completion" in outcome.note


@pytest.mark.parametrize(
    "usage", [None, "many", {"prompt_tokens": -3, "completion_tokens": 1}, {"prompt_tokens": 10**12}]
)
def test_nonsense_in_the_token_count_is_replaced_by_an_estimate(
    usage: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(says(GOOD, usage=usage)) as server:
        run = Run(tmp_path, server, monkeypatch)
        (outcome,) = run.write()
    assert outcome.result == SAVED and run.ledger[0]["estimated"]
    assert run.ledger[0]["completion_tokens"] == len(GOOD)  # of bytes: never low, whatever the tokenizer


def test_the_limit_on_calls_counts_retries_and_is_never_passed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(fails(500)) as server:
        run = Run(tmp_path, server, monkeypatch, max_calls=2)
        outcomes = run.write(MILK, BUTTER)
    assert len(server.requests) == run.accounts.calls == 2
    assert [outcome.result for outcome in outcomes] == [FAILED, NOT_ASKED] and "--max-calls" in outcomes[0].note


def test_the_limit_on_tokens_is_checked_before_a_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spent = {"prompt_tokens": 9000, "completion_tokens": 700}  # of one call
    with serving(says("no 1", usage=spent), says("no 2", usage=spent), says(GOOD)) as server:
        run = Run(tmp_path, server, monkeypatch, max_tokens=45_000)  # and at most some 43,000 before it
        (outcome,) = run.write()
    assert len(server.requests) == 2 and run.accounts.tokens <= 45_000
    (attempt,) = json.loads((run.work / "rejected" / MILK.suite / f"{MILK.name}.json").read_text())
    assert attempt["ended"] == "cut short" and len(attempt["replies"]) == 2
    assert outcome.result == FAILED and "--max-tokens" in outcome.note


def test_the_same_question_is_paid_for_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(says(GOOD)) as server:
        Run(tmp_path, server, monkeypatch, samples=2).write()
        again = Run(tmp_path, server, monkeypatch, samples=2)
        (outcome,) = again.write()
        assert (outcome.result, len(server.requests), again.accounts.calls) == (SAVED, 2, 0)
        assert [call["status"] for call in again.ledger] == ["ok", "ok", "cached", "cached"]
        Run(tmp_path, server, monkeypatch, samples=2, refresh=True).write()
    assert len(server.requests) == 4


def test_the_best_of_several_samples_is_kept_and_all_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dull = GOOD.replace('"hold_steps": 3, ', "")  # the linter warns: contacts flicker
    with serving(says(dull), says("no 1"), says("no 1"), says(GOOD)) as server:
        run = Run(tmp_path, server, monkeypatch, samples=3)
        (outcome,) = run.write()
    assert (outcome.accepted, outcome.samples, outcome.replies, len(server.requests)) == (2, 3, 4, 4)
    assert load_spec(spec_path(MILK, "llm", run.out)) == parse_spec(GOOD)
    scores = {candidate.sample: candidate for candidate in run.provenance.candidates}
    assert scores[2].total > scores[0].total > scores[1].total == 0
    assert len(run.provenance.replies) == 4


def test_what_was_accepted_before_a_failure_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(says(GOOD), fails(401)) as server:
        outcomes = Run(tmp_path, server, monkeypatch, samples=2).write(MILK, BUTTER)
    assert [outcome.result for outcome in outcomes] == [SAVED, FAILED]


def test_the_key_stays_out_of_every_file_and_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    echo = GOOD.replace("A slim carton", f"Bearer {SECRET}")
    with serving(says(echo), fails(401, f"Incorrect API key provided: {SECRET}")) as server:
        run = Run(tmp_path, server, monkeypatch)
        outcomes = run.write(MILK, BUTTER)
    assert server.headers[0]["authorization"] == f"Bearer {SECRET}"  # it was sent, as it has to be
    assert SECRET not in run.all_text() + "".join(outcome.note for outcome in outcomes)


def test_without_key_and_address_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(ConfigError, match="OPENAI_API_KEY"):
        ChatServer("m", Accounts(), Limits())


@pytest.mark.parametrize("url", ["nonsense", "ftp://host/v1", "http://", "http://host:port/v1", "http://host:99999"])
def test_an_address_that_is_none_is_refused_without_repeating_it(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    with pytest.raises(ConfigError, match="OPENAI_BASE_URL is no address"):
        ChatServer("m", Accounts(), Limits())


def test_where_nobody_listens_no_tokens_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(says(GOOD)) as server:
        run = Run(tmp_path, server, monkeypatch)
    (outcome,) = run.write()  # the server is gone
    assert outcome.result == FAILED and "Check OPENAI_BASE_URL" in outcome.note
    assert (run.accounts.calls, run.accounts.tokens) == (3, 0)


def test_user_and_password_of_an_address_are_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(fails(404)) as server:
        run = Run(tmp_path, server, monkeypatch)
        monkeypatch.setenv("OPENAI_BASE_URL", server.url.replace("//", "//user:pass-word@"))
        run.writer._server = ChatServer("m", run.accounts, Limits())
        (outcome,) = run.write()
    assert "pass-word" not in outcome.note + run.all_text() and "127.0.0.1" in outcome.note


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"timeout_s": float("nan")}, "--timeout-s is nan"),
        ({"timeout_s": -1.0}, "--timeout-s is -1.0; give seconds above 0"),
        ({"timeout_s": float("inf")}, "--timeout-s is inf.*at most 86400"),
        ({"max_reply_tokens": 0}, "--max-reply-tokens=0 must be a whole number of at least 1"),
        ({"max_calls": -1}, "--max-calls=-1"),
        ({"max_tokens": -1}, "--max-tokens=-1"),
        ({"samples": 0}, "--samples=0"),
        ({"model": ""}, "--model '' names no model"),
        ({"model": " "}, "--model ' ' names no model"),
    ],
    ids=str,
)
def test_numbers_and_names_that_are_none_are_refused_before_anything_is_asked(
    wrong: dict[str, Any], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {"model": "m", "task": 0, "out": tmp_path / "out", "work": tmp_path / "work"}
    with serving(says(GOOD)) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        with pytest.raises(ConfigError, match=said):
            generate(**given | wrong)
        assert not server.requests and not list(tmp_path.iterdir())


def test_thoughts_without_end_are_no_reply_and_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    thoughts = [f"Draft {number}: {GOOD} No, because" for number in range(3)]
    replies = [says("", message={"reasoning_content": each}, finish_reason="length", usage=None) for each in thoughts]
    with serving(*replies, says(GOOD)) as server:
        run = Run(tmp_path, server, monkeypatch)
        (outcome,) = run.write()
    assert (outcome.result, outcome.replies) == (SAVED, 4)
    assert [reply.text for reply in run.provenance.replies] == ["", "", "", GOOD]
    assert [call["completion_tokens"] for call in run.ledger[:3]] == [len(each) for each in thoughts]


def test_the_command_writes_a_table_or_fails_with_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(says(GOOD)) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        folders: dict[str, Any] = {"out": tmp_path / "out", "work": tmp_path / "work", "samples": 1}
        text = generate("m", MILK.suite, MILK.name, **folders)
        assert "1 of 1 specs written; 1 calls, 5700 tokens" in text and "1/1" in text
        passed = {"verdict": "passed", "spec_id": spec_id(parse_spec(GOOD))}
        certificate_path(MILK, "llm", tmp_path / "out").write_text(json.dumps(passed))
        text = generate("another", MILK.suite, MILK.name, **folders)  # which is not asked
        assert "certified" in text and "0 of 1 specs written; 0 calls" in text
        with pytest.raises(AuthorError, match=r"repeated itself.*E02"):
            generate("m", BUTTER.suite, BUTTER.name, **folders)
