"""Optional imports: which extra to install where a package is missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tgrpo_envs.errors import MissingExtraError

INSTALL_LIBERO = "pip install 'tgrpo[libero]', then pip install --no-deps hf-libero==0.1.4"
"""hf-libero's own requirements would compile two C++ packages that nothing here uses."""


@contextmanager
def needs_extra(extra: str, what: str = "This") -> Iterator[None]:
    """For imports of packages that come with an extra of this distribution.

    Args:
        extra: Its name in pyproject.toml.
        what: What needs them, for the message.

    Raises:
        MissingExtraError: A package is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("tgrpo_"):  # a fault of ours, which no extra cures
            raise
        raise MissingExtraError(
            f"{what} needs the package {error.name}, which is not installed: pip install 'tgrpo[{extra}]'."
        ) from error
