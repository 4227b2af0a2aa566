"""Ingesting by hand, and choosing among samples: the same result every time, and a record of all that was weighed."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import sys
from importlib import resources
from pathlib import Path

import pytest

from tests.helpers.fake_chat import says, serving
from tgrpo_envs.__main__ import main
from tgrpo_envs.errors import ConfigError, SpecError
from tgrpo_envs.reward_tools.author.cards import load_card
from tgrpo_envs.reward_tools.author.commands import ingest
from tgrpo_envs.reward_tools.author.prompt import render_prompt
from tgrpo_envs.reward_tools.author.provenance import Provenance, ReplyRecord
from tgrpo_envs.reward_tools.author.repair import Sample
from tgrpo_envs.reward_tools.author.review import review_reply
from tgrpo_envs.reward_tools.author.selection import agreement, num_words, rank_samples
from tgrpo_envs.rewards.shipped import certificate_path, provenance_path, spec_path
from tgrpo_envs.rewards.spec import load_spec, parse_spec, spec_id
from tgrpo_envs.tasks import bddl_path, get_task

MILK = get_task("libero_object", "pick_up_the_milk_and_place_it_in_the_basket")
GOOD = (
    resources.files("tgrpo_envs")
    .joinpath("reward_tools/author/prompts/examples/object_milk_in_basket.json")
    .read_text()
)


def without_lift() -> str:
    document = json.loads(GOOD)
    document["stages"] = [stage for stage in document["stages"] if stage["id"] != "lift_milk"]
    document["stages"][2]["after"] = ["grasp_milk"]
    return json.dumps(document)


def sample(number: int, text: str) -> Sample:
    review = review_reply(text, MILK, load_card(MILK))
    record = ReplyRecord(form="text", text=text, findings=review.lines, spec_id=None, created="", model="m")
    return Sample(number, (record,), review, "accepted" if review.accepted else "out of repairs")


def filed(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "reply.txt"
    path.write_text(text)
    return path


def test_a_reply_carried_by_hand_is_filed_like_any_other(tmp_path: Path) -> None:
    reply = f"Gladly!\n```json\n{GOOD}```"
    text = ingest(filed(tmp_path, reply), "some model, by hand", MILK.suite, MILK.name, tmp_path)
    assert str(spec_path(MILK, "llm", tmp_path)) in text and "score 100" in text
    assert load_spec(spec_path(MILK, "llm", tmp_path)) == parse_spec(GOOD)
    record = Provenance.model_validate_json(provenance_path(MILK, tmp_path).read_text())
    assert (record.channel, record.model, record.replies[0].text) == ("manual", "some model, by hand", reply)
    assert record.prompt_sha256 == render_prompt(MILK).sha256


def test_a_reply_may_come_from_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(GOOD.encode())))
    ingest(Path("-"), "m", MILK.suite, MILK.name, tmp_path)
    assert spec_path(MILK, "llm", tmp_path).is_file()


def test_faulty_replies_are_not_filed(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"E02.*milk_7.*did you mean 'milk_1'"):
        ingest(filed(tmp_path, GOOD.replace('"milk_1"', '"milk_7"')), "m", MILK.suite, MILK.name, tmp_path)
    with pytest.raises(SpecError, match="Cannot read"):
        ingest(tmp_path / "nothing.txt", "m", MILK.suite, MILK.name, tmp_path)
    with pytest.raises(SpecError, match="bytes"):
        ingest(filed(tmp_path, "x" * 300_000), "m", MILK.suite, MILK.name, tmp_path)
    (tmp_path / "latin.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(SpecError, match="UTF-8"):
        ingest(tmp_path / "latin.txt", "m", MILK.suite, MILK.name, tmp_path)
    with pytest.raises(ConfigError, match="label"):
        ingest(filed(tmp_path, GOOD), "  ", MILK.suite, MILK.name, tmp_path)
    assert not spec_path(MILK, "llm", tmp_path).exists() and not provenance_path(MILK, tmp_path).exists()


def test_a_task_of_ones_own_gets_a_spec_by_hand_and_from_a_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my_milk.bddl").write_text(bddl_path(MILK).read_text(encoding="utf-8"))
    reply = json.dumps(json.loads(GOOD) | {"task": {"suite": "custom", "name": "my_milk"}})
    Path("reply.txt").write_text(reply)
    take = ["rewards", "ingest", "--reply", "reply.txt", "--model-label", "m"]
    assert main([*take, "--bddl", "my_milk.bddl", "--out", "hand"]) == 0
    with serving(says(reply)) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", "none")
        ask = ["rewards", "generate", "--model", "m", "--samples", "1", "--work", "work", "--bddl", "my_milk.bddl"]
        assert main(ask) == 0
    asked = server.requests[0]["messages"][1]["content"]
    assert "from the task file's :language (a hint only): <<pick the milk and place it in the basket>>" in asked
    for folder in ("hand", "specs"):
        assert load_spec(Path(folder, "custom", "my_milk.llm.json")) == parse_spec(reply)
    capsys.readouterr()
    for words in ([], ["--suite", "custom"], ["--task", "my_milk"], ["--suite", "custom", "--task", "my_milk"]):
        assert main([*take, *words]) == 2
        assert "--bddl FILE" in capsys.readouterr().err
    assert main([*take, "--suite", MILK.suite, "--bddl", "my_milk.bddl"]) == 2
    assert "a task of your own" in capsys.readouterr().err


def test_agreement_counts_shared_stages_and_edges() -> None:
    good, short = parse_spec(GOOD), parse_spec(without_lift())
    assert agreement(good, good) == 1
    # 4 of 5 stages are shared; edges are 4 and 3, of which reach-grasp and carry-place are shared: 2 of 5.
    assert agreement(good, short) == agreement(short, good) == pytest.approx((4 / 5 + 2 / 5) / 2)
    renamed = parse_spec(GOOD.replace("lift_milk", "raise_it").replace('"by_m": 0.1', '"by_m": 0.2'))
    assert agreement(good, renamed) == 1  # names and numbers are not structure


def test_length_counts_stages_edges_atoms_and_ramps() -> None:
    # 5 stages, 4 edges; done: near, touching, grasped, lifted, near, goal; while: grasped twice; ramps: 4.
    assert num_words(parse_spec(GOOD)) == 5 + 4 + 6 + 2 + 4


def test_the_majority_wins_among_equal_scores() -> None:
    samples = [sample(0, without_lift()), sample(1, GOOD), sample(2, GOOD.replace("lift_milk", "raise_it"))]
    (record, best), *_ = rank_samples(samples)
    assert best.number in (1, 2) and record.consensus == pytest.approx((1 + 0.6) / 2)
    assert record.total == pytest.approx(100 + 10 * 0.8 - 0.1 * 21)


def test_ties_are_broken_the_same_way_in_any_order() -> None:
    samples = [sample(0, GOOD), sample(1, GOOD.replace("lift_milk", "raise_it")), sample(2, "no"), sample(3, GOOD)]
    orders = [[entry.number for _, entry in rank_samples(list(p))] for p in itertools.permutations(samples)]
    assert all(order == orders[0] for order in orders) and orders[0][-1] == 2


def test_nothing_is_written_into_the_package_unless_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ingest(filed(tmp_path, GOOD), "m", MILK.suite, MILK.name)
    assert spec_path(MILK, "llm", Path("specs")).is_file()


def test_a_spec_that_has_passed_is_replaced_only_on_request(tmp_path: Path) -> None:
    ingest(filed(tmp_path, GOOD), "m", MILK.suite, MILK.name, tmp_path)
    path, passed = spec_path(MILK, "llm", tmp_path), {"verdict": "passed", "spec_id": spec_id(parse_spec(GOOD))}
    certificate_path(MILK, "llm", tmp_path).write_text(json.dumps(passed))
    with pytest.raises(SpecError, match=r"passed its certificate and is kept.*--replace"):
        ingest(filed(tmp_path, without_lift()), "m", MILK.suite, MILK.name, tmp_path)
    ingest(filed(tmp_path, GOOD), "m", MILK.suite, MILK.name, tmp_path)  # the same spec
    assert load_spec(path) == parse_spec(GOOD)
    ingest(filed(tmp_path, without_lift()), "m", MILK.suite, MILK.name, tmp_path, replace=True)
    assert load_spec(path) == parse_spec(without_lift())
    ingest(filed(tmp_path, GOOD), "m", MILK.suite, MILK.name, tmp_path)  # the one that passed is gone


def test_refused_replies_are_part_of_the_record(tmp_path: Path) -> None:
    for text in ("no", GOOD.replace('"milk_1"', '"milk_7"')):
        with pytest.raises(SpecError):
            ingest(filed(tmp_path, text), "m", MILK.suite, MILK.name, tmp_path)
    ingest(filed(tmp_path, GOOD), "m", MILK.suite, MILK.name, tmp_path)
    record = Provenance.model_validate_json(provenance_path(MILK, tmp_path).read_text())
    assert [(reply.round, bool(reply.spec_id)) for reply in record.replies] == [(0, False), (1, True), (2, True)]
    assert "milk_7" in record.replies[1].findings[0] and not list(tmp_path.rglob("*refused*"))


def test_a_spec_that_replaces_another_keeps_the_replies_behind_it(tmp_path: Path) -> None:
    for text in (GOOD, "no", without_lift()):
        with contextlib.suppress(SpecError):
            ingest(filed(tmp_path, text), "m", MILK.suite, MILK.name, tmp_path)
    record = Provenance.model_validate_json(provenance_path(MILK, tmp_path).read_text())
    assert [reply.text for reply in record.replies] == [GOOD, "no", without_lift()]
    assert [reply.round for reply in record.replies] == [0, 1, 2]
