"""Actions as tokens, and logits as distributions over them: what policies over action tokens share.

An action is a vector of numbers in [-1, 1]; each number becomes the index of its nearest bin centre. The gripper is
binned like the others: what LIBERO's gripper reads is the sign, and both extremes are bins.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tgrpo_envs.errors import ConfigError
from tgrpo_trainer.policy.randomness import Randomness, check_temperature, drawn_like
from tgrpo_trainer.types import ACTION_DIM, ActionSample, LogProbs


@dataclass(frozen=True)
class ActionBins:
    """The V values an action token can stand for.

    Attributes:
        centres_V: float32, strictly increasing, in [-1, 1].
    """

    centres_V: Tensor

    @classmethod
    def spaced(cls, num_bins: int, power: float = 1.0) -> ActionBins:
        """Centres from -1 to 1, both included; an odd count has exactly 0 ("do not move") among them.

        Args:
            num_bins: V.
            power: Evenly spaced numbers keep their sign and are raised to it: 1 leaves them even, above 1 they lie
                denser around 0, where the last centimetre before a grasp is decided.

        Raises:
            ConfigError: Fewer than two bins, a power that is not above 0, or bins that coincide.
        """
        if num_bins < 2:
            raise ConfigError(f"{num_bins} action bins cannot tell -1 from 1; use at least 2 (21 is a good start).")
        if not power > 0.0:
            raise ConfigError(f"The power of the action bins is {power}; use a number above 0, 1 for even bins.")
        even_V = torch.linspace(-1.0, 1.0, num_bins)
        centres_V = even_V.sign() * even_V.abs() ** power
        if not (centres_V.diff() > 0).all():
            raise ConfigError(
                f"{num_bins} action bins with a power of {power} coincide in float32; use fewer, or a power nearer 1."
            )
        return cls(centres_V)

    def __len__(self) -> int:
        return self.centres_V.shape[0]

    def encode(self, actions_NCA: Tensor) -> Tensor:
        """Nearest bins: tokens_NK int64; values outside the bins become the outermost ones."""
        centres_V = self.centres_V.to(actions_NCA.device)
        midpoints = (centres_V[1:] + centres_V[:-1]) / 2
        return torch.bucketize(actions_NCA.to(midpoints.dtype).contiguous(), midpoints).flatten(1)

    def decode(self, tokens_NK: Tensor) -> Tensor:
        """Bin centres of the tokens: actions_NCA float32, with A = ACTION_DIM."""
        return self.centres_V.to(tokens_NK.device)[tokens_NK].view(tokens_NK.shape[0], -1, ACTION_DIM)


def hold(actions_NCA: Tensor, steps: int) -> Tensor:
    """One action for every `steps` control steps: the mean motion, and the direction the gripper takes in most of them.

    Args:
        actions_NCA: In [-1, 1]; the last entry of A is the gripper's command.
        steps: Divides C.

    Returns:
        (N, C / steps, A); where the gripper opens as often as it closes, the window's last command counts.
    """
    windows = torch.unflatten(actions_NCA, 1, (-1, steps))
    motion, grip = windows[..., :-1].mean(2), windows[..., -1]
    mean = grip.mean(2)
    held = torch.where(mean == 0, grip[..., -1], mean.sign() * grip.abs().mean(2))
    return torch.cat([motion, held[..., None]], dim=-1)


def draw(
    logits_NKV: Tensor, bins: ActionBins, *, temperature: float, greedy: bool, generator: Randomness
) -> ActionSample:
    """Draw one token per place from logits, with the log-probability it had at `temperature`.

    Raises:
        ConfigError: temperature is not above 0.
    """
    tokens_NK, logp_NK = choose(logits_NKV, temperature=temperature, greedy=greedy, generator=generator)
    return ActionSample(tokens_NK, logp_NK, bins.decode(tokens_NK))


def choose(logits: Tensor, *, temperature: float, greedy: bool, generator: Randomness) -> tuple[Tensor, Tensor]:
    """One token along the last axis of logits, and its log-probability at `temperature` (float32).

    Draws what `torch.multinomial` draws and in the same way (the first of exponential clocks to ring), but without its
    check of the probabilities, which makes the host wait for the device at every token.

    Raises:
        ConfigError: temperature is not above 0.
    """
    logp = _log_softmax(logits, temperature)
    scores = logp if greedy else logp.exp() / drawn_like(logp, generator, _fill_exponential)
    tokens = scores.argmax(-1)
    return tokens, _pick(logp, tokens)


def score(logits_NKV: Tensor, tokens_NK: Tensor, temperature: float) -> LogProbs:
    """Log-probability of given tokens, and the entropy of each distribution; greedy where it is the arg max.

    Raises:
        ConfigError: temperature is not above 0.
    """
    logp_NKV = _log_softmax(logits_NKV, temperature)
    return LogProbs(
        logp_NK=_pick(logp_NKV, tokens_NK),
        entropy_NK=-(logp_NKV.exp() * logp_NKV).sum(-1),
        greedy_NK=logp_NKV.detach().argmax(-1) == tokens_NK,
    )


def _fill_exponential(values: Tensor, generator: torch.Generator | None) -> Tensor:
    """Standard exponential numbers, in place."""
    return values.exponential_(generator=generator)


def _log_softmax(logits: Tensor, temperature: float) -> Tensor:
    """In float32 whatever the model computes in: rounding here would go straight into the probability ratio."""
    check_temperature(temperature)
    return torch.log_softmax(logits.float() / temperature, dim=-1)


def _pick(logp: Tensor, tokens: Tensor) -> Tensor:
    return logp.gather(-1, tokens[..., None]).squeeze(-1)
