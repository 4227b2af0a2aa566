"""Exports a checkpoint's policy in the published format, with LoRA adapters merged."""

from __future__ import annotations

from pathlib import Path

from tgrpo_envs.errors import ConfigError
from tgrpo_envs.files import atomic_folder
from tgrpo_trainer.policy import ADAPTER_CONFIG_FILE
from tgrpo_trainer.run.checkpoint import load_checkpoint


def export_policy(checkpoint: Path, out: Path, base: str | None = None) -> None:
    """Write the policy of a checkpoint into a new folder.

    Args:
        checkpoint: Of a run; or a folder with LoRA adapters of another program, whose base peft's file names; or a
            program's file of weights.
        out: Must not exist; it appears when everything is written.
        base: For a file of weights: the checkpoint that it was trained from.

    Raises:
        ConfigError: `out` exists, or a base goes with no file of weights, or such a file without one.
        OutputError: `out` cannot be written.
        CheckpointError: The checkpoint, or the base of its adapters, is missing or damaged.
    """
    if out.exists():
        raise ConfigError(f"{out} exists already; name a new folder.")
    if checkpoint.is_file() == (base is None):
        raise ConfigError(
            f"{checkpoint} is {'a' if base is None else 'no'} file of weights, and --base is for these: the checkpoint "
            f"that they were trained from. {'Give it' if base is None else 'Leave it out'}."
        )
    with atomic_folder(out) as partial:
        _write(checkpoint, partial, base)


def _write(checkpoint: Path, folder: Path, base: str | None) -> None:
    if base is not None:
        from tgrpo_trainer.policy.openvla.foreign import convert_weights

        convert_weights(checkpoint, base, folder)
        return
    if (checkpoint / ADAPTER_CONFIG_FILE).is_file():
        from tgrpo_trainer.policy.openvla.foreign import merge_foreign  # brings transformers

        merge_foreign(checkpoint, folder)
        return
    policy = load_checkpoint(checkpoint).policy
    policy.merge()
    policy.save(folder)
