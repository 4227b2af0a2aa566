"""What of a task is changed to see how a policy bears it, after LIBERO-Plus's kinds; and the changed instruction."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from tgrpo_envs.arrays import shown, whole_number
from tgrpo_envs.errors import ConfigError, UnknownNameError

Kind = Literal["camera", "light", "robot", "background", "layout", "distractors", "wording"]
KINDS: tuple[Kind, ...] = get_args(Kind)
MAX_LEVEL = 3

# Words at the head of a phrase of LIBERO's instructions, and others for the same.
_VERBS = {
    "pick up": ("grab", "take", "lift"),
    "turn on": ("switch on", "start"),
    "turn off": ("switch off", "stop"),
    "put": ("set", "place"),
    "place": ("put", "set"),
    "open": ("pull open",),
    "close": ("shut",),
    "push": ("slide", "move"),
    "stack": ("pile",),
}
_VERB = re.compile(r"\b(" + "|".join(_VERBS) + r")\b")
_POLITE = ("please {}", "could you {}", "{}, please", "your task is to {}", "go ahead and {}")
_WORDY = (
    "the table has just been cleaned; now {} and then stop",
    "do not mind anything else in the scene, only {}",
    "before we go on to other things, it would help if you could {}",
    "someone will need this in a minute, so {} as well as you can",
)


@dataclass(frozen=True)
class Perturbation:
    """One kind of change to a task, drawn once by its seed.

    Attributes:
        kind: ``camera`` moves the scene camera around the workspace; ``light`` changes brightness, colour and place of
            the lights; ``robot`` bends the arm before the start; ``background`` gives floor, walls and table other
            colours and patterns; ``layout`` moves and turns the objects; ``distractors`` adds objects;
            ``wording`` says the instruction otherwise. Each leaves alone what the others change.
        level: 1 slight, 2 clear, 3 strong. docs/perturbations.md has the sizes.
        seed: Which of the many changes of that kind and level. What it draws is the same at every level, only larger.

    Raises:
        UnknownNameError: There is no such kind.
        ConfigError: A level or seed that there is not.
    """

    kind: Kind
    level: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UnknownNameError("kind of perturbation", self.kind, KINDS)
        object.__setattr__(self, "level", whole_number("level of a perturbation", self.level, 1, MAX_LEVEL))
        object.__setattr__(self, "seed", whole_number("seed of a perturbation", self.seed, 0))

    def rng(self, *purpose: int) -> np.random.Generator:
        """A stream of random numbers that follows from the kind, the seed and the purpose alone."""
        return np.random.default_rng([KINDS.index(self.kind), self.seed, *purpose])

    def at_level(self, *sizes: float) -> float:
        """That of `MAX_LEVEL` sizes which belongs to the level."""
        return sizes[self.level - 1]


def parse_perturbation(given: object) -> Perturbation | None:
    """None, a perturbation, its kind alone, or its fields in a dictionary.

    Raises:
        UnknownNameError: There is no such kind.
        ConfigError: Something else.
    """
    if given is None or isinstance(given, Perturbation):
        return given
    if isinstance(given, str):
        return Perturbation(given)  # type: ignore[arg-type] # which checks the name
    fields: dict[str, Any] = dict(given) if isinstance(given, Mapping) else {}
    if "kind" not in fields or not fields.keys() <= {"kind", "level", "seed"}:
        raise ConfigError(
            f"perturb={shown(given)} must be None, one of {', '.join(KINDS)}, or a dictionary such as "
            "{'kind': 'camera', 'level': 2, 'seed': 0}."
        )
    return Perturbation(**fields)


def reworded(instruction: str, perturbation: Perturbation | None) -> str:
    """The instruction as a perturbation of kind ``wording`` says it; the things in it keep their names.

    Level 1 takes other verbs, 2 puts the sentence into a frame too, 3 into one with words that do not matter.
    """
    if perturbation is None or perturbation.kind != "wording":
        return instruction
    rng = perturbation.rng()

    def another(verb: re.Match[str]) -> str:
        return str(rng.choice(_VERBS[verb.group()]))

    said = _VERB.sub(another, instruction)
    frame = rng.random()  # drawn at every level, so that a seed's verbs do not depend on it
    if perturbation.level == 1 and said != instruction:
        return said
    frames = _WORDY if perturbation.level == MAX_LEVEL else _POLITE
    return frames[int(frame * len(frames))].format(said)
