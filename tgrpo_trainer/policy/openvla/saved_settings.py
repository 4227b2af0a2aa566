"""What a checkpoint's own files leave open of an OpenVLA, as a run decided it and saved it beside them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tgrpo_envs.errors import CheckpointError, ConfigError
from tgrpo_envs.tasks import SUITES
from tgrpo_trainer.policy import ADAPTER_CONFIG_FILE, SETTINGS_FILE
from tgrpo_trainer.policy.base import PolicyStart
from tgrpo_trainer.policy.densities import Density
from tgrpo_trainer.policy.json_files import read_object
from tgrpo_trainer.policy.openvla.architecture import Architecture
from tgrpo_trainer.policy.openvla.regression import MIN_SCALE
from tgrpo_trainer.policy.openvla.settings import OpenVlaConfig
from tgrpo_trainer.policy.restart import refuse_other_use

KEPT = ("center_crop", "jpeg", "decoding", "noise")
"""What a policy is used with as it was trained."""


@dataclass(frozen=True)
class OpenVlaSettings:
    """What a checkpoint's own files leave open.

    Attributes:
        unnorm_key: Data set whose action statistics apply, or a LIBERO suite.
        image_size: Side of the environment's pictures in pixels (published models saw 256).
        action_chunk: Control steps a decision; 1 unless decoding is parallel.
        center_crop: Keep the centre 0.9 of the picture's area, for models trained with random crops.
        jpeg: Look at pictures as they come back from a JPEG file, like the published evaluation (`jpeg`).
        decoding: "autoregressive" (OpenVLA) or "parallel" (OpenVLA-OFT).
        gradient_checkpointing: Compute activations again in the backward pass: less memory, more time.
        compile: Compile the step of autoregressive decoding (`decoding.Decoder`).
        num_pictures: Pictures that it looks at; None as `architecture.read_architecture` finds it.
        noise: Density around the numbers of a regression head.
        noise_scale: Its scale before anything is learnt; None takes the checkpoint's own, else `NOISE_SCALE`.
    """

    unnorm_key: str
    image_size: int = 256
    action_chunk: int = 1
    center_crop: bool = True
    jpeg: bool = False
    decoding: Literal["autoregressive", "parallel"] = "autoregressive"
    gradient_checkpointing: bool = False
    compile: bool = False
    num_pictures: int | None = None
    noise: Density = "laplace"
    noise_scale: float | None = None

    def __post_init__(self) -> None:
        if self.action_chunk < 1 or (self.decoding == "autoregressive" and self.action_chunk != 1):
            raise ConfigError(
                f"OpenVLA with {self.decoding} decoding and an action_chunk of {self.action_chunk}: autoregressive "
                "decoding decides one step (--env.action-chunk 1); parallel decoding was published with 8."
            )
        if self.noise_scale is not None and self.noise_scale <= MIN_SCALE:
            raise ConfigError(f"noise_scale is {self.noise_scale}; use a number above {MIN_SCALE}.")

    def check_head(self, architecture: Architecture) -> None:
        """Refuse settings that the checkpoint's head cannot be used with.

        Raises:
            ConfigError: A regression head decoded token by token.
        """
        if architecture.l1_head and self.decoding == "autoregressive":
            raise ConfigError(
                "The checkpoint has OpenVLA-OFT's L1 head, which decides a chunk at once; set "
                "--policy.openvla.decoding parallel --env.action-chunk 8 (of eval: --openvla.decoding parallel "
                "--action-chunk 8)."
            )


def settings_of_start(start: PolicyStart, chosen: OpenVlaConfig, folder: Path) -> OpenVlaSettings:
    """Those of a run that begins with a checkpoint; of one that a run saved, what is left open is as it was saved.

    Args:
        start: What the run says of its policy.
        chosen: Its section for OpenVLA.
        folder: The checkpoint, published or saved by a run.

    Raises:
        CheckpointError: The settings beside a saved one are damaged.
        ConfigError: It was trained with another crop, JPEG, decoding, noise or chunk than the run's.
    """
    unnorm_key, num_pictures = chosen.unnorm_key, chosen.num_pictures
    if (folder / SETTINGS_FILE).is_file() and not (folder / ADAPTER_CONFIG_FILE).is_file():
        saved = read_settings(folder)
        refuse_other_use(
            folder,
            {
                **{f"policy.openvla.{name}": (getattr(saved, name), getattr(chosen, name)) for name in KEPT},
                "env.action_chunk": (saved.action_chunk, start.action_chunk),
            },
        )
        num_pictures = num_pictures or saved.num_pictures
        if saved.unnorm_key not in SUITES:  # else it was left open there too, and follows the suite
            unnorm_key = unnorm_key or saved.unnorm_key
    return OpenVlaSettings(
        unnorm_key=unnorm_key or start.suite,
        image_size=start.image_size,
        action_chunk=start.action_chunk,
        num_pictures=num_pictures,
        **chosen.model_dump(exclude={"unnorm_key", "num_pictures", "dtype"}),
    )


def read_settings(folder: Path) -> OpenVlaSettings:
    """Those that a saved policy has beside it.

    Raises:
        CheckpointError: There are none, or they are damaged.
    """
    path = folder / SETTINGS_FILE
    if not path.is_file():
        raise CheckpointError(
            f"{folder} is a published OpenVLA without settings of a run; start from it with --policy.kind openvla "
            f"--policy.checkpoint {folder} (the recipe openvla_libero has the other settings)."
        )
    return parse_settings(read_object(path), path)


def parse_settings(content: dict[str, Any], path: Path) -> OpenVlaSettings:
    """Settings from what a file holds.

    Raises:
        CheckpointError: They are others, or impossible.
    """
    content.pop("kind", None)
    try:
        return OpenVlaSettings(**content)
    except (TypeError, ConfigError) as error:
        raise CheckpointError(f"{path} does not hold the settings of an OpenVLA policy: {error}") from error
