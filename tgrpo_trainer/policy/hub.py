"""A checkpoint by name: a folder on this machine, or a repository of the Hugging Face hub, pinned to a commit."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tgrpo_envs.errors import CheckpointError

FILES = ("*.json", "*.safetensors", "tokenizer.model")
"""What a policy is made of. Never code, never pickles, nothing of folders within."""
_HUB_ID = re.compile(r"(?P<repository>[\w-][\w.-]*/[\w-][\w.-]*)(@(?P<revision>[\w./-]+))?")


@dataclass(frozen=True)
class FoundCheckpoint:
    """A checkpoint that is here now.

    Attributes:
        folder: Its files.
        pinned: A name that gives the same files again: the absolute folder, or owner/name@commit.
    """

    folder: Path
    pinned: str


def resolve_checkpoint(checkpoint: str) -> FoundCheckpoint:
    """Find a checkpoint, downloading what is not in the hub's cache yet (with the hub's own progress bar).

    Args:
        checkpoint: A folder, which goes first, or owner/name or owner/name@revision on the hub.

    Raises:
        CheckpointError: It is neither, or the hub does not give it.
    """
    folder = Path(checkpoint).expanduser()
    if folder.is_dir():
        return FoundCheckpoint(folder, str(folder.resolve()))
    match = _HUB_ID.fullmatch(checkpoint)
    if match is None:
        raise CheckpointError(
            f"{checkpoint} is neither a folder nor a name on the hub (owner/name or owner/name@revision)."
        )
    repository = match["repository"]
    downloaded = _download(repository, match["revision"])
    return FoundCheckpoint(downloaded, f"{repository}@{downloaded.name}")  # the cache names folders by their commit


def _download(repository: str, revision: str | None) -> Path:
    import huggingface_hub
    from huggingface_hub import errors

    named = repository if revision is None else f"{repository}@{revision}"
    try:
        folder = huggingface_hub.snapshot_download(
            repository, revision=revision, allow_patterns=list(FILES), ignore_patterns="*/*"
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
            f"{named} is not in the hub's cache and cannot be downloaded ({_first_line(error)}); "
            "give a folder with its files, or run again with a network."
        ) from error
    return Path(folder)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
