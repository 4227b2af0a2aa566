"""The instruction as OpenVLA's prompt: its published wording, tokenised by the checkpoint's own tokenizer.json."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor

from tgrpo_envs.errors import CheckpointError
from tgrpo_trainer.policy.openvla.model import PROMPT_PADDING_ID

TOKENIZER_FILE = "tokenizer.json"
TEMPLATE = "In: What action should the robot take to {instruction}?\nOut:"
EMPTY_TOKEN = "▁"
"""A lone word boundary (id 29871 in Llama 2): in training it stood between the prompt and the action tokens."""


class Prompter:
    """Writes and tokenises prompts.

    Args:
        tokenizer: The checkpoint's.
        bos_id: The token every prompt must begin with.
        vocab_end: First id of the vocabulary's tail padding.

    Raises:
        CheckpointError: The tokenizer lacks the empty token, or does not begin its texts with `bos_id`.
    """

    def __init__(self, tokenizer: Tokenizer, *, bos_id: int, vocab_end: int) -> None:
        self.tokenizer = tokenizer
        empty_id = tokenizer.token_to_id(EMPTY_TOKEN)
        if empty_id is None:
            raise CheckpointError(f"{TOKENIZER_FILE} lacks the token {EMPTY_TOKEN!r} that OpenVLA's prompts end with.")
        self.empty_id = empty_id
        ids = self._ids("pick up the bowl")
        if ids[0] != bos_id or PROMPT_PADDING_ID in ids or max(ids) >= vocab_end:
            raise CheckpointError(
                f"{TOKENIZER_FILE} turns a prompt into ids {min(ids)} to {max(ids)} starting with {ids[0]}; they must "
                f"start with {bos_id} and lie above {PROMPT_PADDING_ID} and below {vocab_end}: it is another model's."
            )

    @classmethod
    def load(cls, folder: Path, *, bos_id: int, vocab_end: int) -> Prompter:
        """Read the checkpoint's tokenizer.

        Raises:
            CheckpointError: tokenizer.json is missing, damaged or another model's.
        """
        path = folder / TOKENIZER_FILE
        if not path.is_file():
            raise CheckpointError(
                f"{path} is missing; copy it from the published checkpoint (a tokenizer.model alone is not enough)."
            )
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises nothing narrower
            raise CheckpointError(f"{path} is not a tokenizer: {error}") from error
        # What a tokenizer was last used with is saved along with it; transformers sets both at every call.
        tokenizer.no_padding()
        tokenizer.no_truncation()
        return cls(tokenizer, bos_id=bos_id, vocab_end=vocab_end)

    def encode(self, instructions: Sequence[str]) -> Tensor:
        """Ids of N prompts: instruction_NL int64, padded on the right."""
        rows = [self._ids(text) for text in instructions]
        length = max(len(row) for row in rows)
        return torch.tensor([row + [PROMPT_PADDING_ID] * (length - len(row)) for row in rows], dtype=torch.int64)

    def _ids(self, instruction: str) -> list[int]:
        ids: list[int] = self.tokenizer.encode(TEMPLATE.format(instruction=instruction.lower())).ids
        return ids if ids[-1] == self.empty_id else [*ids, self.empty_id]
