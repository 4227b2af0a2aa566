"""Static checks of reward specs: from a task file alone, without simulator, scene or network."""

from tgrpo_envs.reward_tools.lint.finding import Finding
from tgrpo_envs.reward_tools.lint.rules import RULES, Rule, lint_profile, lint_score, lint_spec, lint_text, rules_table

__all__ = ["RULES", "Finding", "Rule", "lint_profile", "lint_score", "lint_spec", "lint_text", "rules_table"]
