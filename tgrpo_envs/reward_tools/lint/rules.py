"""The table of lint rules, and running them over a spec or a profile."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from dataclasses import dataclass, replace

from tgrpo_envs.bddl import Problem
from tgrpo_envs.reward_tools.lint import carrying, document, instances, plan, ramps, style
from tgrpo_envs.reward_tools.lint.case import Case
from tgrpo_envs.reward_tools.lint.finding import Check, Finding
from tgrpo_envs.reward_tools.lint.profile import too_much_for_failures
from tgrpo_envs.rewards.credit import CreditProfile
from tgrpo_envs.rewards.spec import StageSpec
from tgrpo_envs.tasks import Task

FULL_SCORE = 100


@dataclass(frozen=True)
class Rule:
    """A code and the function that looks for its fault.

    Attributes:
        code: E.. or W...
        check: Yields the faults; its docstring is the rule's entry in docs/rewards.md.
        on: What it looks at: the ``text`` of a file, a ``spec`` with its task, or a ``profile``.
        weight: What a warning costs of the score of 100.
    """

    code: str
    check: Check
    on: str = "spec"
    weight: int = 0


RULES: tuple[Rule, ...] = (
    Rule("E01", document.malformed, "text"),
    Rule("E02", instances.unknown_entity),
    Rule("E03", instances.wrong_kind),
    Rule("E04", document.out_of_range, "text"),
    Rule("E05", plan.dead_end),
    Rule("E06", plan.goal_count),
    Rule("E07", instances.wrong_instance),
    Rule("E08", plan.shut_container),
    Rule("E09", plan.shut_too_early),
    Rule("E10", plan.wrong_direction),
    Rule("E11", ramps.unfit_ramp),
    Rule("E12", too_much_for_failures, "profile"),
    Rule("E13", instances.wrong_task),
    Rule("E14", plan.broken_at_reset),
    Rule("W01", style.lopsided_effort, weight=5),
    Rule("W02", style.grasp_or_push, weight=10),
    Rule("W03", style.flickering_contact, weight=3),
    Rule("W04", style.wrong_latch, weight=5),
    Rule("W05", style.unrelated_entity, weight=5),
    Rule("W06", style.conflicting_text, weight=0),
    Rule("W07", style.stage_count, weight=3),
    Rule("W08", style.uneven_branches, weight=3),
    Rule("W09", style.boasting_rationale, weight=2),
    Rule("W10", carrying.carry_without_lift, weight=5),
    Rule("W11", carrying.opening_left_out, weight=5),
)


def lint_spec(spec: StageSpec, problem: Problem, task: Task, rules: Iterable[Rule] = RULES) -> tuple[Finding, ...]:
    """All findings about a well-formed spec, in the order of the rules.

    Args:
        spec: The spec.
        problem: The task's parsed BDDL file.
        task: The task it is meant for.
        rules: Which rules to apply; those about texts and profiles are passed over.
    """
    case = Case(spec, problem, task)
    return tuple(fault.under(rule.code) for rule in rules if rule.on == "spec" for fault in rule.check(case))


def lint_text(
    text: str, problem: Problem, task: Task, source: str, rules: Iterable[Rule] = RULES
) -> tuple[StageSpec | None, tuple[Finding, ...]]:
    """Read a spec and lint it.

    Args:
        text: The JSON document.
        problem: The task's parsed BDDL file.
        task: The task it is meant for.
        source: Where the text came from; names faults of the file as a whole.
        rules: Which rules to apply.

    Returns:
        The spec, or None if it cannot be read; and all findings.
    """
    rules = tuple(rules)
    spec, faults = document.read(text)
    if spec is not None:
        return spec, lint_spec(spec, problem, task, rules)
    known = {rule.code for rule in rules}
    findings = (fault.under(code) for code, fault in faults if code in known)
    return None, tuple(replace(finding, path=finding.path or source) for finding in findings)


def lint_profile(profile: CreditProfile, horizon: int, rules: Iterable[Rule] = RULES) -> tuple[Finding, ...]:
    """Findings about the operator's profile for episodes of at most `horizon` control steps."""
    return tuple(
        fault.under(rule.code) for rule in rules if rule.on == "profile" for fault in rule.check(profile, horizon)
    )


def lint_score(findings: Iterable[Finding]) -> int:
    """100 minus the weights of the warnings, each rule counted once; 0 with any error."""
    codes = {finding.code for finding in findings}
    if any(code.startswith("E") for code in codes):
        return 0
    return FULL_SCORE - sum(rule.weight for rule in RULES if rule.code in codes)


def rules_table() -> str:
    """The rules as a Markdown table, from the docstrings of their functions."""
    lines = ["| code | rule | catches | example |", "|---|---|---|---|"]
    for rule in RULES:
        docstring = " ".join((inspect.getdoc(rule.check) or "").split())
        what, _, rest = docstring.partition(" Catches: ")
        catches, _, example = rest.partition(" Example: ")
        cost = f" (costs {rule.weight})" if rule.code.startswith("W") else ""
        lines.append(f"| {rule.code}{cost} | {what} | {catches} | {example} |")
    return "\n".join(lines)
