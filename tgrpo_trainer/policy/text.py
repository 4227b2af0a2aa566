"""Instructions as hashed words: token ids without a vocabulary file, the same on every machine and in every process."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence

import torch
from torch import Tensor

from tgrpo_envs.errors import ConfigError

PADDING_ID = 0
_WORD = re.compile(r"[^\W_]+")
"""Letters and digits of any script."""


def hash_words(texts: Sequence[str], num_buckets: int) -> Tensor:
    """Lower-case words of N texts as instruction_NL int64 in [1, num_buckets), padded with PADDING_ID to the longest.

    CRC-32 rather than Python's `hash`, which differs from process to process. Two words may share a bucket: about one
    pair in a thousand at 1024 buckets.

    Raises:
        ConfigError: A text holds no word.
    """
    rows = [[1 + zlib.crc32(word.encode()) % (num_buckets - 1) for word in _WORD.findall(t.lower())] for t in texts]
    for text, row in zip(texts, rows, strict=True):
        if not row:
            raise ConfigError(f"The instruction {text!r} holds no word; give the task in words.")
    length = max(len(row) for row in rows)
    return torch.tensor([row + [PADDING_ID] * (length - len(row)) for row in rows], dtype=torch.int64)
