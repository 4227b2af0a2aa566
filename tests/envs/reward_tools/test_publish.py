"""The published vocabulary, schema and table of lint rules are those of the code."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from scripts.write_docs import (
    RULES_FILE,
    SCHEMA_FILE,
    VOCABULARY_FILE,
    schema_text,
    vocabulary_page,
    with_rules,
    write_all,
)
from tgrpo_envs.reward_tools.lint import RULES
from tgrpo_envs.rewards.vocabulary import MODELS

DOCS = Path(__file__).resolve().parents[3] / "docs"
AGAIN = "run python scripts/write_docs.py docs"


def test_the_vocabulary_page_is_current() -> None:
    assert (DOCS / VOCABULARY_FILE).read_text(encoding="utf-8") == vocabulary_page(), AGAIN


def test_the_schema_is_current() -> None:
    assert (DOCS / SCHEMA_FILE).read_text(encoding="utf-8") == schema_text(), AGAIN


def test_the_table_of_rules_is_current() -> None:
    page = (DOCS / RULES_FILE).read_text(encoding="utf-8")
    assert with_rules(page) == page, AGAIN
    assert all(f"\n| {rule.code}" in page for rule in RULES)


def test_every_rule_says_what_it_catches_with_an_example() -> None:
    rows = [line.split(" | ") for line in with_rules("<!-- lint rules: begin --><!-- lint rules: end -->").splitlines()]
    for row in rows[3:-1]:
        assert len(row) == 4 and all(cell.strip(" |") for cell in row), row


def test_every_word_and_number_is_published() -> None:
    """Ranges by hand, so that a change of the page's code shows: near 0.01 to 0.30 m, at most 12 stages."""
    page = vocabulary_page()
    for op in MODELS:
        assert f"`{op}`" in page
    assert "`within_m` 0.01 to 0.3;" in page and "`from_m` 0.02 to 1 (default as at reset)" in page
    assert re.search(r"\| `stages` \| 1 to 12 entries \|", page)
    assert re.search(r"\| `hold_steps` \| 1 to 20 \(default 1\) \| Control steps", page)


@pytest.mark.parametrize("op", sorted(set(MODELS) - {"all", "any", "not"}))
def test_the_schema_knows_each_word(op: str) -> None:
    definitions = json.loads(schema_text())["$defs"].values()
    assert any(entry.get("properties", {}).get("op", {}).get("const") == op for entry in definitions)


def test_writing_is_repeatable(tmp_path: Path) -> None:
    (tmp_path / RULES_FILE).parent.mkdir()
    (tmp_path / RULES_FILE).write_text(
        "a <!-- lint rules: begin -->outdated<!-- lint rules: end --> b", encoding="utf-8"
    )
    write_all(tmp_path)
    first = (tmp_path / RULES_FILE).read_text(encoding="utf-8")
    write_all(tmp_path)
    assert (tmp_path / RULES_FILE).read_text(encoding="utf-8") == first
    assert first.startswith("a <!--") and first.endswith("--> b") and "| E01 |" in first and "outdated" not in first
