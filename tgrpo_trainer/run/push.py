"""Puts an exported policy, with a page that says what it is, into a repository of the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tgrpo_envs.errors import OutputError, first_line
from tgrpo_envs.extras import needs_extra

CARD_NAME = "README.md"
_OPTION = "--push"


def make_repository(repository: str, *, public: bool) -> None:
    """Make a repository, or find that it is there, before the policy is written.

    Args:
        repository: OWNER/NAME.
        public: Whether everyone sees a new one.

    Raises:
        OutputError: The hub refuses, or cannot be reached.
        MissingExtraError: huggingface_hub is not installed.
    """
    with needs_extra("train", "The hub"):
        from huggingface_hub import HfApi
    with _refusals_explained(repository):
        HfApi().create_repo(repository, private=not public, exist_ok=True)


def push_policy(folder: Path, repository: str, card: str) -> str:
    """Upload an exported policy as one commit; a page that the repository has already stays.

    Args:
        folder: The policy's files.
        repository: OWNER/NAME, which exists.
        card: The page, in Markdown.

    Returns:
        The commit's address.

    Raises:
        OutputError: The hub refuses, or cannot be reached.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    api = HfApi()
    with _refusals_explained(repository):
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        adds = [CommitOperationAdd(path.relative_to(folder).as_posix(), path) for path in files]
        if not api.file_exists(repository, CARD_NAME):
            adds.append(CommitOperationAdd(CARD_NAME, card.encode()))
        return str(api.create_commit(repository, adds, commit_message="Policy exported by tgrpo").commit_url)


@contextmanager
def _refusals_explained(repository: str) -> Iterator[None]:
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]

    try:
        yield
    except (HTTPError, OSError, ValueError) as error:  # the hub's own kinds derive from these
        reason = f"the hub says: {first_line(error).rstrip('.')}; `hf auth login` logs in"
        raise OutputError(Path(repository), reason, _OPTION) from error
