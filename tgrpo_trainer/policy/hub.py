"""A checkpoint by name: a folder on this machine, or a repository of the Hugging Face hub, pinned to a commit.

Only some files of a repository are taken. Those left out may say that the model is more than what is played here, so
their names are looked at, here and in a folder.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tgrpo_envs.errors import CheckpointError, first_line
from tgrpo_envs.extras import needs_extra

READ_PARTS = ("action_head", "proprio_projector", "vision_backbone")
PART_FILE = re.compile(rf"(?P<part>{'|'.join(READ_PARTS)})--.+_checkpoint\.pt")
"""What OpenVLA-OFT saves beside the weights, a part a file; `policy.openvla.parts` reads them, as tensors only."""
FILES = ("*.json", "*.safetensors", "tokenizer.model", *(f"{part}--*_checkpoint.pt" for part in READ_PARTS))
"""What a policy is made of. Never code, no other pickles, nothing of folders within."""
OTHER_PARTS = {
    "noisy_action_projector": "the noise projector of OpenVLA-OFT's diffusion head",
}
"""Parts that are not supported."""
PLAYED = (
    "this version plays OpenVLA's token head and OpenVLA-OFT's L1 head, so take a checkpoint trained that way "
    "(docs/openvla.md, OpenVLA-OFT)"
)
"""The end of a refusal: what would not be."""

_HUB_ID = re.compile(r"(?P<repository>[\w-][\w.-]*/[\w-][\w.-]*)(?P<folder>(/[\w-][\w.-]*)*)(@(?P<revision>[\w./-]+))?")
_FORMS = "owner/name, owner/name/folder, or either with @revision"


@dataclass(frozen=True)
class FoundCheckpoint:
    """A checkpoint that is here now.

    Attributes:
        folder: Its files.
        pinned: A name that gives the same files again: the absolute folder, or owner/name[/folder]@commit.
    """

    folder: Path
    pinned: str


def resolve_checkpoint(checkpoint: str) -> FoundCheckpoint:
    """Find a checkpoint, downloading what is not in the hub's cache yet (with the hub's own progress bar).

    Args:
        checkpoint: A folder, which goes first, or on the hub owner/name or a folder in it, owner/name/sub/folder; both
            may end in @revision.

    Raises:
        CheckpointError: It is neither, the hub does not give it, or it is a model that this version cannot play.
        MissingExtraError: huggingface_hub is not installed.
    """
    folder = Path(checkpoint).expanduser()
    if folder.is_dir():
        return FoundCheckpoint(folder, str(folder.resolve()))
    match = _HUB_ID.fullmatch(checkpoint)
    if match is None:
        raise CheckpointError(f"{checkpoint} is neither a folder nor a name on the hub ({_FORMS}).")
    repository, inside = match["repository"], match["folder"].lstrip("/")
    snapshot = _download(repository, match["revision"], inside)
    if not (snapshot / inside).is_dir():
        raise CheckpointError(
            f"{checkpoint} is neither a folder here nor one of {repository} on the hub: it has no files of a policy in "
            f"{inside}; look at its files there."
        )
    # The cache names folders by their commit.
    return FoundCheckpoint(snapshot / inside, f"{repository}{match['folder']}@{snapshot.name}")


def refuse_parts(names: Iterable[str], where: str) -> None:
    """Refuse a checkpoint whose files say that its actions or inputs are not supported.

    Args:
        names: Of the files in the checkpoint's folder.
        where: The checkpoint, for the message.

    Raises:
        CheckpointError: Names the file and what it is.
    """
    for name in sorted(names):
        part = OTHER_PARTS.get(name.partition("--")[0])
        if part is not None and "--" in name:
            raise CheckpointError(f"{where} holds {name}, {part}; {PLAYED}.")


def _download(repository: str, revision: str | None, inside: str) -> Path:
    """The snapshot with the files of one folder ("" is the uppermost)."""
    with needs_extra("train", "A checkpoint on the hub"):
        import huggingface_hub
        from huggingface_hub import errors

    named = repository if revision is None else f"{repository}@{revision}"
    before = f"{inside}/" if inside else ""
    listed = [name.removeprefix(before) for name in _list(repository, revision) if name.startswith(before)]
    refuse_parts((name for name in listed if "/" not in name), f"{named}{f' ({inside})' if inside else ''}")
    try:
        snapshot = huggingface_hub.snapshot_download(
            repository,
            revision=revision,
            allow_patterns=[f"{before}{pattern}" for pattern in FILES],
            ignore_patterns=f"{before}*/*",
        )
    except errors.GatedRepoError as error:
        raise CheckpointError(
            f"{named} is gated: accept its terms on the hub's page and log in (hf auth login), or give a folder."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise CheckpointError(f"{repository} has no revision {revision}; look at its branches on the hub.") from error
    except errors.RepositoryNotFoundError as error:
        raise CheckpointError(
            f"{named} is neither a folder here nor a model on the hub (or a private one: hf auth login)."
        ) from error
    except Exception as error:  # connection, proxy, time-out, offline mode, full disk: each layer has its own kind
        raise CheckpointError(
            f"{named} is not in the hub's cache and cannot be downloaded ({first_line(error).rstrip('.')}); "
            "give a folder with its files, or run again with a network."
        ) from error
    return Path(snapshot)


def _list(repository: str, revision: str | None) -> list[str]:
    """All files of a repository; none where the hub does not answer.

    Whatever was wrong, the download says it. Without a network only the cache is left, which was listed when it came.
    """
    import huggingface_hub

    try:
        # Fails at once where listing would try for long.
        commit = huggingface_hub.model_info(repository, revision=revision or "main").sha
        return huggingface_hub.list_repo_files(repository, revision=commit)
    except Exception:  # noqa: BLE001 - as many kinds as above
        return []
