"""The checkpoint that LoRA adapters belong to: where it is, and how to tell that it is still the same."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tgrpo_envs.errors import CheckpointError
from tgrpo_envs.files import load_json
from tgrpo_trainer.policy import CONFIG_FILE
from tgrpo_trainer.policy.hub import resolve_checkpoint
from tgrpo_trainer.policy.openvla.parts import read_parts
from tgrpo_trainer.policy.openvla.weights import DType, read_headers

SAMPLE_BYTES = 64
"""Of every tensor: the first 32 bfloat16 numbers of a thousand tensors tell any two trainings apart."""


@dataclass(frozen=True)
class BaseCheckpoint:
    """A pointer to a full checkpoint.

    Attributes:
        checkpoint: A folder, or owner/name@commit on the hub.
        dtype: What its weights were converted to; None kept what is stored.
        fingerprint: See `fingerprint`.
    """

    checkpoint: str
    dtype: DType | None
    fingerprint: str

    @classmethod
    def of(cls, checkpoint: str, dtype: DType | None) -> BaseCheckpoint:
        """Point to a checkpoint as it is now.

        Raises:
            CheckpointError: It cannot be had.
        """
        found = resolve_checkpoint(checkpoint)
        return cls(found.pinned, dtype, fingerprint(found.folder))

    @classmethod
    def from_json(cls, content: Any, where: Path) -> BaseCheckpoint:
        """What `dataclasses.asdict` gave.

        Raises:
            CheckpointError: It is something else.
        """
        try:
            return cls(**content)
        except TypeError as error:
            raise CheckpointError(
                f"{where} does not say which checkpoint the LoRA adapters beside it belong to; put back the file that "
                "the run wrote, or, if another program made the adapters, remove it and merge them: "
                f"python -m tgrpo_trainer export {where.parent} OUT."
            ) from error

    def find(self, adapters: Path) -> Path:
        """The checkpoint's folder, from the hub if need be.

        Args:
            adapters: Folder of the adapters, for messages.

        Raises:
            CheckpointError: It is not there any more, or not the one the adapters were trained on.
        """
        try:
            folder = resolve_checkpoint(self.checkpoint).folder
        except CheckpointError as error:
            raise CheckpointError(f"{adapters} holds LoRA adapters, and their base cannot be had: {error}") from error
        if fingerprint(folder) != self.fingerprint:
            raise CheckpointError(
                f"{adapters} holds LoRA adapters of another checkpoint than the one that {self.checkpoint} is now; put "
                "the one they were trained on back."
            )
        return folder


def fingerprint(folder: Path) -> str:
    """SHA-256 over config.json, every tensor's name, shape and type, and its first bytes; also those of parts.

    Raises:
        CheckpointError: A file is missing or damaged.
    """
    headers = read_headers(folder)
    digest = hashlib.sha256()
    try:
        digest.update((folder / CONFIG_FILE).read_bytes())
        for shard in sorted({stored.shard for stored in headers.values()}):
            with shard.open("rb") as file:
                size = int.from_bytes(file.read(8), "little")
                entries = load_json(file.read(size))
                entries.pop("__metadata__", None)
                for name, entry in sorted(entries.items()):
                    begin, end = entry["data_offsets"]
                    file.seek(8 + size + begin)
                    digest.update(f"{name} {entry['dtype']} {entry['shape']}".encode())
                    digest.update(file.read(min(SAMPLE_BYTES, end - begin)))
    except OSError as error:
        raise CheckpointError(f"{folder} cannot be read: {error}") from error
    for name, tensor in sorted(read_parts(folder).tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.flatten()[:SAMPLE_BYTES].double().numpy().tobytes())
    return digest.hexdigest()
