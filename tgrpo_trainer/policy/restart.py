"""A new run from a policy that a run saved: what the policy is shown and how it decides stay as they were."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tgrpo_envs.errors import CheckpointError, ConfigError
from tgrpo_trainer.policy import POLICIES, SETTINGS_FILE, policy_kind


def refuse_other_kind(folder: Path, kind: str) -> None:
    """Refuse to start a policy of one kind from another's files.

    Raises:
        CheckpointError: The folder holds another kind of policy, or none.
    """
    found = policy_kind(folder)
    if found != kind:
        instead = f"give --policy.kind {found}" if found in POLICIES else f"name one of kind {kind}"
        raise CheckpointError(f"{folder} holds a policy of kind {found}, but policy.kind is {kind}; {instead}.")


def refuse_other_use(folder: Path, settings: Mapping[str, tuple[object, object]]) -> None:
    """Refuse to use a policy otherwise than it was trained.

    A run's settings do not say which of them were given and which are defaults, so neither side can silently win.

    Args:
        folder: The policy's.
        settings: By their names among a run's, such as policy.openvla.jpeg: the value that was saved with the policy,
            and the new run's.

    Raises:
        ConfigError: Names each setting that differs, and the options that have the new run as the policy was trained.
    """
    changed = {name: pair for name, pair in settings.items() if pair[0] != pair[1]}
    if changed:
        listed = ", ".join(f"{name} {saved} (this run's is {now})" for name, (saved, now) in changed.items())
        options = " ".join(_option(name, saved) for name, (saved, _) in changed.items())
        raise ConfigError(
            f"{folder} was trained with {listed}; go on so with {options}, or, to use its weights otherwise, start "
            f"from a copy without its {SETTINGS_FILE}."
        )


def _option(name: str, value: object) -> str:
    group, _, own = name.replace("_", "-").rpartition(".")
    if isinstance(value, bool):
        return f"--{group}.{own if value else f'no-{own}'}"
    return f"--{group}.{own} {value}"
