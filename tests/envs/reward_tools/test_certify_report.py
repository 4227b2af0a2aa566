"""The report on certificates: what each suite had to show, counted from known certificates, and whose spec pays."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tgrpo_envs.reward_tools.certify.certificate import Certificate
from tgrpo_envs.reward_tools.certify.commands import report
from tgrpo_envs.reward_tools.certify.comparison import by_weakness, difference_rows, slack, weak_rows
from tgrpo_envs.reward_tools.certify.report import html_page, text_table
from tgrpo_envs.reward_tools.certify.summary import DEMAND_HEADINGS, defaults_text, demand_rows
from tgrpo_envs.rewards.shipped import certificate_path, shipped_spec, spec_path
from tgrpo_envs.rewards.spec import save_spec
from tgrpo_envs.tasks import get_task


def shown(
    certificate: Certificate, values: dict[str, tuple[float | None, int, bool | None]], **changes: Any
) -> Certificate:
    """The certificate with the value, number and outcome of some checks changed."""
    checks = []
    for check in certificate.checks:
        value, n, passed = values.get(check.id, (check.value, check.n, check.passed))
        checks.append(check.model_copy(update={"value": value, "n": n, "passed": passed}))
    return certificate.model_copy(update={"checks": tuple(checks), **changes})


@pytest.fixture(scope="module")
def certificate() -> Certificate:
    return Certificate.load(certificate_path(get_task("libero_object", 0), "llm"))


def test_demands_are_counted_over_specs_and_pooled_over_episodes(certificate: Certificate) -> None:
    good = shown(certificate, {"D04": (1.0, 8, True), "D02": (0.002, 2, True), "D08": (0.99, 9, True)})
    bad = shown(certificate, {"D04": (0.5, 4, False), "D02": (0.02, 2, False), "D08": (None, 0, None)})
    ((producer, *cells),) = demand_rows([good, bad])
    row = dict(zip(DEMAND_HEADINGS[1:], cells, strict=True))
    assert producer == "llm"
    assert row["expert in order >= 95 %"] == "1/2 (0.500)"
    assert row["idle M <= 0.01"] == "1/2 (0.020)"
    assert row["AUC >= 0.95"] == "1/1 (0.990)"
    assert row["expert episodes in order"] == "10/12 (83.3%)"


def test_thresholds_in_the_headings_are_those_of_the_checks(certificate: Certificate) -> None:
    thresholds = {check.id: check.threshold for check in certificate.checks}
    assert [thresholds[check] for check in ("D04", "D02", "D03", "D08")] == [0.95, 0.01, 0.15, 0.95]
    assert DEMAND_HEADINGS[1:5] == (
        "expert in order >= 95 %", "idle M <= 0.01", "random M <= 0.15", "AUC >= 0.95"
    )  # fmt: skip


def test_the_report_says_where_the_compiled_spec_pays_and_on_which_draw(certificate: Certificate) -> None:
    other = shown(certificate, {}, task="another_task", verdict="failed")
    assert defaults_text([certificate]) == "By default the language model's spec pays in 1 of 1 tasks."
    text = text_table([certificate, other])
    assert "pays in 1 of 2 tasks" in text and "in: libero_object/another_task (failed)." in text
    later = certificate.model_copy(update={"evidence": certificate.evidence.model_copy(update={"draw": 7})})
    page = html_page([later, other])
    assert "draw 7" in page and "libero_object/another_task" in page and page.count("<table>") == 4


def test_the_weakest_come_first_failed_ones_before_all(certificate: Certificate) -> None:
    good = shown(
        certificate, {"D04": (1.0, 8, True), "D02": (0.0, 2, True), "D03": (0.0, 2, True), "D08": (1.0, 9, True)}
    )
    near = shown(good, {"D03": (0.12, 2, True)}, task="near")
    unproved = shown(good, {"D04": (None, 0, None)}, task="unproved", verdict="static-only")
    failed = shown(good, {"D08": (0.90, 9, False)}, task="failed", verdict="failed")
    assert [one.task for one in by_weakness([good, near, failed, unproved])] == [
        "failed",
        "unproved",
        "near",
        good.task,
    ]
    share, check = slack(near)
    assert share == pytest.approx(0.2) and check == "random M <= 0.15" and slack(failed)[0] == pytest.approx(-1)
    assert weak_rows([good, near])[0] == ("libero_object", "near", "llm", "passed", "0.20", "random M <= 0.15")


def test_the_producers_are_compared_on_the_same_states_only(certificate: Certificate) -> None:
    def with_mv(producer: str, mv: float, task: str, draw: int = 0) -> Certificate:
        metrics = certificate.metrics | {"mv": certificate.metrics["mv"].model_copy(update={"value": mv})}
        evidence = certificate.evidence.model_copy(update={"draw": draw})
        return certificate.model_copy(
            update={"producer": producer, "task": task, "metrics": metrics, "evidence": evidence}
        )

    pairs = [("a", 0.1, 0.2), ("b", 0.3, 0.1), ("c", 0.1, 0.1), ("d", 0.0, 0.2)]
    both = [with_mv(who, mv, task) for task, *mvs in pairs for who, mv in zip(("llm", "compiled"), mvs, strict=True)]
    other_states = [with_mv("llm", 0.0, "e", draw=1), with_mv("compiled", 0.9, "e")]
    row = next(row for row in difference_rows([*both, *other_states]) if row[0] == "mv")
    assert row == ("mv", "4", "2", "1", "1", "0.1250", "0.1500")


def test_a_certificate_of_another_spec_is_named_and_counts_for_nothing(tmp_path: Path) -> None:
    for index in (0, 1):
        task = get_task("libero_object", index)
        for path in (spec_path(task, "llm"), certificate_path(task, "llm")):
            (tmp_path / task.suite).mkdir(exist_ok=True)
            shutil.copy(path, tmp_path / task.suite / path.name)
    save_spec(shipped_spec(task, "compiled"), spec_path(task, "llm", tmp_path))
    text = report(tmp_path / "page.html", specs=tmp_path)
    assert "pays in 1 of 1 tasks" in text
    assert f"{certificate_path(task, 'llm', tmp_path)} is of another spec" in text
