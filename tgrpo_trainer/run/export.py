"""Exports a checkpoint's policy in the published format, with LoRA adapters merged."""

from __future__ import annotations

from pathlib import Path

from tgrpo_envs.errors import ConfigError
from tgrpo_envs.files import atomic_folder
from tgrpo_trainer.policy import ADAPTER_CONFIG_FILE
from tgrpo_trainer.run.checkpoint import load_checkpoint


def export_policy(checkpoint: Path, out: Path) -> None:
    """Write the policy of a checkpoint into a new folder.

    Args:
        checkpoint: Of a run; or a folder with LoRA adapters of another program, whose base peft's file names.
        out: Must not exist; it appears when everything is written.

    Raises:
        ConfigError: `out` exists.
        OutputError: `out` cannot be written.
        CheckpointError: The checkpoint, or the base of its adapters, is missing or damaged.
    """
    if out.exists():
        raise ConfigError(f"{out} exists already; name a new folder.")
    with atomic_folder(out) as partial:
        _write(checkpoint, partial)


def _write(checkpoint: Path, folder: Path) -> None:
    if (checkpoint / ADAPTER_CONFIG_FILE).is_file():
        from tgrpo_trainer.policy.openvla.foreign import merge_foreign  # brings transformers

        merge_foreign(checkpoint, folder)
        return
    policy = load_checkpoint(checkpoint).policy
    policy.merge()
    policy.save(folder)
