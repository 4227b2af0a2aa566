"""SmolVLA as a policy: reads LeRobot's checkpoints, draws and scores paths of its flow, and saves in the same layout.

A choice is a number of the executed actions, normalised as in the training data. Its log-probability is the sum over
the steps of its path from noise (`policy.flow`). What the trainer keeps of a decision is the noise it started from and
all numbers drawn on the way.

Greedy actions follow the ODE from noise that is always the same, drawn once with a fixed seed. Zeros would be the most
probable noise, but lie where no training example did: the length of noise in a thousand dimensions is about 30.

A control step attends to those before it alone. So only those of a decision are computed, of the chunk that the model
predicts. And when an episode ends inside a decision, no noise of steps that did not run has reached those that did: the
choices that count have all the credit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from tgrpo_envs.errors import CheckpointError, ConfigError, UnknownNameError
from tgrpo_trainer.policy import SETTINGS_FILE
from tgrpo_trainer.policy.base import Policy, PolicyStart
from tgrpo_trainer.policy.flow import FlowSampler, Velocity
from tgrpo_trainer.policy.hub import resolve_checkpoint
from tgrpo_trainer.policy.json_files import read_object, write_object
from tgrpo_trainer.policy.randomness import Randomness, drawn_like
from tgrpo_trainer.policy.restart import refuse_other_kind, refuse_other_use
from tgrpo_trainer.policy.smolvla.checkpoint import KIND, SmolVlaCheckpoint, read_checkpoint, write_checkpoint
from tgrpo_trainer.policy.smolvla.inputs import TOKENS, TOKENS_MASK, Inputs
from tgrpo_trainer.policy.smolvla.settings import SmolVlaConfig, SmolVlaSettings
from tgrpo_trainer.types import ACTION_DIM, ActionSample, CloningTerms, LogProbs, PolicyInput

MATCH_WITHIN = 0.05
"""A number that is so close to the expected one counts as it; in standard deviations of the data's actions."""


class SmolVlaPolicy(Policy):
    """LeRobot's SmolVLA, which sees both pictures, the robot's state and the instruction.

    Trained is what LeRobot trains: by the checkpoint's `train_expert_only`, `freeze_vision_encoder` and
    `train_state_proj`.
    """

    recipe: ClassVar[str] = "smolvla_libero"
    whole_blocks: ClassVar[bool] = False  # LeRobot calls their layers
    memory_advice: ClassVar[str] = (
        "--update.microbatch-size 1, or in a new run fewer steps (--policy.smolvla.num-steps)."
    )

    def __init__(self, checkpoint: SmolVlaCheckpoint, settings: SmolVlaSettings) -> None:
        super().__init__()
        self.lerobot: Any = checkpoint.model
        self.checkpoint = checkpoint
        self.settings = settings
        self.inputs = Inputs(checkpoint, settings.agentview, settings.wrist)
        sizes = self.lerobot.config
        self.sampler = FlowSampler(settings.num_steps or sizes.num_steps, settings.noise_level)
        noise = torch.randn(sizes.chunk_size, sizes.max_action_dim, generator=torch.Generator().manual_seed(0))
        sizes.chunk_size = settings.action_chunk  # LeRobot's model looks it up whenever it is called
        places = torch.arange(sizes.chunk_size)[:, None] * sizes.max_action_dim + torch.arange(ACTION_DIM)
        self.register_buffer("drawn_K", places.flatten(), persistent=False)
        self.register_buffer("greedy_noise_1X", noise[: sizes.chunk_size].reshape(1, -1), persistent=False)
        self.drawn_K: Tensor
        self.greedy_noise_1X: Tensor
        self._num_cloned = 0

    @classmethod
    def start(cls, start: PolicyStart) -> SmolVlaPolicy:
        """See `Policy.start`; a checkpoint, published or of a run, under this run's settings."""
        chosen = start.settings
        assert isinstance(chosen, SmolVlaConfig)
        if start.checkpoint is None:
            raise ConfigError(
                "policy.kind is smolvla, which starts from a checkpoint; give its folder, or its name on the hub, with "
                "--policy.checkpoint FOLDER."
            )
        folder = resolve_checkpoint(start.checkpoint).folder
        refuse_other_kind(folder, KIND)
        return cls.load(folder, _settings_of_start(start, chosen, folder))

    @classmethod
    def is_published(cls, folder: Path) -> bool:
        """See `Policy.is_published`."""
        return not (folder / SETTINGS_FILE).is_file()

    @classmethod
    def load(cls, folder: Path, settings: SmolVlaSettings | None = None) -> SmolVlaPolicy:
        """Read LeRobot's layout.

        Args:
            folder: As of `checkpoint`.
            settings: None takes those that `save` left.

        Raises:
            CheckpointError: Something is missing, damaged, or of another model or robot.
            ConfigError: More control steps a decision than the model predicts, or other names of cameras.
            MissingExtraError: LeRobot is not installed.
        """
        chosen = settings or _read_settings(folder)
        checkpoint = read_checkpoint(folder)
        longest = checkpoint.model.config.chunk_size
        if chosen.action_chunk > longest:
            raise ConfigError(
                f"env.action_chunk is {chosen.action_chunk}, but {folder} predicts {longest} control steps; give 1 to "
                f"{longest}."
            )
        return cls(checkpoint, chosen)

    @property
    def image_size(self) -> int:
        """Side in pixels of the environment's pictures; LeRobot resizes them to the checkpoint's."""
        return self.settings.image_size

    @property
    def action_chunk(self) -> int:
        """C, control steps a decision."""
        return self.settings.action_chunk

    def encode_instructions(self, texts: Sequence[str]) -> Tensor:
        """See `Inputs.encode_texts`."""
        return self.inputs.encode_texts(texts).to(self.device)

    @torch.no_grad()
    def sample(
        self,
        obs: PolicyInput,
        *,
        temperature: float = 1.0,
        greedy: bool = False,
        generator: Randomness = None,
    ) -> ActionSample:
        """See `Policy.sample`; greedy follows the ODE from noise that is always the same."""
        velocity, start_NX = self._velocity(obs), self.greedy_noise_1X.repeat(len(obs), 1)
        if greedy:
            walk = self.sampler.follow(velocity, start_NX, self.drawn_K, temperature=temperature)
        else:
            start_NX = drawn_like(start_NX, generator, lambda values, own: values.normal_(generator=own))
            walk = self.sampler.draw(velocity, start_NX, self.drawn_K, temperature=temperature, generator=generator)
        numbers_NCA = walk.path_NSK[:, -1].reshape(len(obs), -1, ACTION_DIM)
        choices = torch.cat([start_NX, walk.path_NSK.flatten(1)], dim=1)
        return ActionSample(choices, walk.logp_NK, self.inputs.decode_actions(numbers_NCA))

    def counted(self, ran_NC: Tensor) -> Tensor:
        """See `Policy.counted`."""
        return ran_NC.repeat_interleave(ACTION_DIM, dim=1)

    def log_prob(self, obs: PolicyInput, choices_NK: Tensor, temperature: float = 1.0) -> LogProbs:
        """See `Policy.log_prob`; the choices are those that `sample` gave, noise first."""
        start_NX, path = choices_NK.tensor_split([self.greedy_noise_1X.shape[1]], dim=1)
        path_NSK = path.reshape(len(obs), self.sampler.num_steps, -1)
        walk = self.sampler.score(self._velocity(obs), start_NX, self.drawn_K, path_NSK, temperature=temperature)
        return LogProbs(
            logp_NK=walk.logp_NK,
            entropy_NK=torch.full_like(walk.logp_NK, self.sampler.entropy(temperature)),
            greedy_NK=(path_NSK[:, -1] - walk.last_NK.detach()).abs() <= MATCH_WITHIN,
        )

    def bc_loss(self, obs: PolicyInput, actions_NCA: Tensor) -> CloningTerms:
        """See `Policy.bc_loss`; LeRobot's loss of flow matching, the squared error of the velocity."""
        expert_NK = self.inputs.encode_actions(actions_NCA).flatten(1)
        scored = self(obs, expert_NK, cloning=True)
        return CloningTerms(-scored.logp_NK, scored.greedy_NK)

    def forward(
        self, obs: PolicyInput, choices_NK: Tensor, temperature: float = 1.0, *, cloning: bool = False
    ) -> LogProbs:
        """See `Policy.forward`; while cloning, the choices are an expert's numbers, and `logp_NK` minus their loss."""
        return self._matching(obs, choices_NK) if cloning else super().forward(obs, choices_NK, temperature)

    def save(self, folder: Path, state: Mapping[str, Tensor] | None = None) -> None:
        """Write LeRobot's layout and this policy's settings."""
        whole = self.state_dict() if state is None else state
        weights = {name.removeprefix("lerobot."): tensor for name, tensor in whole.items()}
        used = {"n_action_steps": self.action_chunk, "num_steps": self.sampler.num_steps}
        write_checkpoint(folder, self.checkpoint, weights, used)
        write_object(folder / SETTINGS_FILE, {"kind": KIND, **self.settings.model_dump()})

    def _matching(self, obs: PolicyInput, expert_NK: Tensor) -> LogProbs:
        """Minus the error of each number's velocity, at a time and with noise drawn as LeRobot draws them."""
        generator = torch.Generator().manual_seed(self._num_cloned)
        self._num_cloned += 1
        rows, width = len(obs), self.lerobot.config.max_action_dim
        noise = torch.randn(rows, self.action_chunk, width, generator=generator).to(expert_NK)
        time_N = (0.001 + 0.999 * torch.rand(rows, generator=generator) ** (2 / 3)).to(expert_NK)  # Beta(1.5, 1)
        padded = nn.functional.pad(expert_NK.reshape(rows, -1, ACTION_DIM), (0, width - ACTION_DIM))
        losses: Tensor = self.lerobot.model.forward(*self._seen(obs), padded, noise, time_N)
        loss_NK = losses.flatten(1)[:, self.drawn_K]
        away_NK = time_N[:, None] * loss_NK.detach().sqrt()  # of the action that the velocity points at, x - t v
        return LogProbs(-loss_NK, torch.zeros_like(loss_NK), away_NK <= MATCH_WITHIN)

    def _seen(self, obs: PolicyInput) -> tuple[Any, ...]:
        """Pictures, which of them are there, tokens, which of them are there, and state, as LeRobot's model wants."""
        batch = self.inputs.batch(obs)
        images, image_masks = self.lerobot.prepare_images(batch)
        return images, image_masks, batch[TOKENS], batch[TOKENS_MASK], self.lerobot.prepare_state(batch)

    def _velocity(self, obs: PolicyInput) -> Velocity:
        """The flow of these rows, which are looked at once; all steps share their keys and values."""
        from lerobot.policies.common.vla_utils import make_att_2d_masks

        flow, sizes = self.lerobot.model, self.lerobot.config
        *seen, state_NP = self._seen(obs)
        embedded, there, blocks = flow.embed_prefix(*seen, state=state_NP)
        _, cache = flow.vlm_with_expert.forward(
            attention_mask=make_att_2d_masks(there, blocks),
            position_ids=there.cumsum(1) - 1,
            inputs_embeds=[embedded, None],
            use_cache=True,
        )

        def velocity(x_NX: Tensor, t: float) -> Tensor:
            time_N = torch.full((len(x_NX),), t, device=x_NX.device)
            x = x_NX.reshape(-1, sizes.chunk_size, sizes.max_action_dim)
            v: Tensor = flow.denoise_step(there, cache, x, time_N)
            return v.flatten(1)

        return velocity


def _settings_of_start(start: PolicyStart, chosen: SmolVlaConfig, folder: Path) -> SmolVlaSettings:
    """Those of a run that begins with a checkpoint; one that a run saved is used as there.

    A number of steps that is left open needs nothing here: saving writes it into config.json, which is then followed.
    """
    own = chosen.model_dump()
    if (folder / SETTINGS_FILE).is_file():
        saved = _read_settings(folder).model_dump()
        names = [name for name, value in own.items() if value is not None]
        refuse_other_use(folder, {f"policy.smolvla.{name}": (saved[name], own[name]) for name in names})
    return SmolVlaSettings(image_size=start.image_size, action_chunk=start.action_chunk, **own)


def _read_settings(folder: Path) -> SmolVlaSettings:
    """Those that a saved policy has beside it."""
    path = folder / SETTINGS_FILE
    if not path.is_file():
        raise CheckpointError(
            f"{folder} is a published SmolVLA without settings of a run; start from it with --policy.kind smolvla "
            f"--policy.checkpoint {folder} (the recipe smolvla_libero has the other settings)."
        )
    content = read_object(path)
    content.pop("kind", None)
    try:
        return SmolVlaSettings(**content)
    except (ConfigError, UnknownNameError) as error:
        raise CheckpointError(f"{path} does not hold the settings of a SmolVLA policy: {error}") from error
