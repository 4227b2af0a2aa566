"""What environments and training runs are told of their tasks in the same words, declared once, checked at the edge."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ValidationInfo, field_validator, model_validator

from tgrpo_envs.arrays import flag, shown, whole_number
from tgrpo_envs.base_settings import Settings
from tgrpo_envs.errors import ConfigError
from tgrpo_envs.perturbation import MAX_LEVEL, Kind, Perturbation, parse_perturbation
from tgrpo_envs.rewards.credit import CreditProfile

MAX_PICTURE_PX = 1024
REWARDS = ("stages", "llm", "compiled", "sparse")
Suite = Literal["libero_spatial", "libero_object", "libero_goal", "libero_10", "libero_90", "custom"]


def whole(low: int, high: int | None = None) -> BeforeValidator:
    """Whole numbers of any library, as Python's."""
    return BeforeValidator(lambda given, info: whole_number(str(info.field_name), given, low, high))


def whole_or_none(low: int, high: int) -> BeforeValidator:
    """Such numbers, or None."""
    return BeforeValidator(
        lambda given, info: given if given is None else whole_number(str(info.field_name), given, low, high)
    )


def _text(given: object, info: ValidationInfo) -> str:
    if not isinstance(given, str | Path):
        raise ConfigError(f"{info.field_name}={shown(given)} must be a name or a path.")
    return str(given)


Pixels = Annotated[int, whole(16, MAX_PICTURE_PX)]
Flag = Annotated[bool, BeforeValidator(lambda given, info: flag(str(info.field_name), given))]
NameOrPath = Annotated[str, BeforeValidator(_text)]


class SharedSettings(Settings):
    """What an environment and a training run are told of their tasks in the same words."""

    suite: Suite = "libero_object"
    """LIBERO suite; custom = the task of bddl."""
    bddl: Path | None = None
    """A task file of your own, in place of a suite and its tasks (docs/bring-a-task.md)."""
    assets: NameOrPath = "auto"
    """Asset pack: auto, primitive, libero, or a folder."""
    reward: NameOrPath = "stages"
    """Reward: stages (a language model's where they passed their certificate, else the compiler's), llm, compiled,
    sparse (1 on success), or the path of a reward spec."""
    unchecked_reward: Flag = False
    """Take a reward spec although it is for another task or has lint errors."""
    credit: CreditProfile = CreditProfile()
    """How progress through the reward's stages is paid."""
    fixture_poses: Literal["default", "per_episode"] = "default"
    """Where cabinets, stoves and the like stand: as the set of states says (drawn with train and heldout states, at the
    centre of their regions in official ones, whose files do not say), or drawn anew for every episode."""
    detail: Literal["fast", "exact", "off"] = "fast"
    """How pictures are drawn: fast = simplified meshes, one sample a pixel; exact = LIBERO's pixels; off = none."""
    perturb: Kind | None = None
    """A kind of change to the tasks (docs/perturbations.md), the same in every episode; None = as they are."""
    perturb_level: Annotated[int, whole(1, MAX_LEVEL)] = 2
    """How much is changed: 1 = slight, 2 = clear, 3 = strong."""
    perturb_seed: Annotated[int, whole(0)] = 0
    """Which change of that kind."""
    image_size: Pixels = 128
    """Width and height of the camera pictures, in pixels."""
    action_chunk: Annotated[int, whole(1, 64)] = 1
    """Control steps (20 Hz) decided at once: those in one environment step."""
    horizon: Annotated[int | None, whole_or_none(1, 100_000)] = None
    """Cut every episode after this many control steps; None = the suite's horizon (520 for a file of your own)."""
    num_threads: Annotated[int | None, whole_or_none(1, 1024)] = None
    """Simulator threads; None = one for each picture, at most one a core."""

    @model_validator(mode="before")
    @classmethod
    def _perturbation_in_parts(cls, values: Any) -> Any:
        """A `Perturbation`, or its fields in a dict, as three settings."""
        given = values.get("perturb") if isinstance(values, dict) else None
        if (change := parse_perturbation(given)) is None:
            return values
        parts = {} if isinstance(given, str) else {"perturb_level": change.level, "perturb_seed": change.seed}
        for name, value in parts.items():
            if values.get(name, value) != value:
                raise ConfigError(f"{name}={shown(values[name])} is not what perturb={shown(given)} says; give one.")
        return values | {"perturb": change.kind} | parts

    @field_validator("credit", mode="before")
    @classmethod
    def _credit_or_its_fields(cls, given: object) -> CreditProfile:
        if isinstance(given, CreditProfile):
            return given
        if given is None:
            return CreditProfile()
        if not isinstance(given, Mapping):
            raise ConfigError(
                f"credit={shown(given)} must be a CreditProfile or its fields in a dict, such as {{'beta': 0.3}}."
            )
        return CreditProfile(**given)

    @property
    def perturbation(self) -> Perturbation | None:
        """The change to the tasks."""
        return None if self.perturb is None else Perturbation(self.perturb, self.perturb_level, self.perturb_seed)

    @property
    def reward_is_file(self) -> bool:
        """Whether `reward` is the path of a specification."""
        return self.reward not in REWARDS
