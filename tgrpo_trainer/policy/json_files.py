"""JSON objects beside a policy's weights: settings, and companions of published checkpoints."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tgrpo_envs.errors import CheckpointError
from tgrpo_envs.files import read_json


def read_object(path: Path) -> dict[str, Any]:
    """The object in a file.

    Raises:
        CheckpointError: It is missing or something else.
    """
    try:
        content = read_json(path)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is missing or not JSON: {error}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds {type(content).__name__}, not an object with settings.")
    return content


def write_object(path: Path, content: Mapping[str, Any]) -> None:
    """Write an object, its keys in order."""
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
