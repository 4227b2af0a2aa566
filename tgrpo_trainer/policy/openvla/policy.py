"""OpenVLA as a policy: reads a published checkpoint, draws and scores actions, and saves in the same format.

The checkpoint says what a choice is: an action token, or (OpenVLA-OFT with its L1 head) a number of an action in the
training data's units, drawn around the head's with a learnt scale:

    x_k ~ Laplace(head_k(s), scale_a)        scale_a = 0.01 + exp(log_scale_a), one for each of an action's 7 numbers
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from tgrpo_envs.errors import CheckpointError, ConfigError
from tgrpo_trainer.policy import ADAPTER_CONFIG_FILE, CONFIG_FILE, SETTINGS_FILE
from tgrpo_trainer.policy.base import PolicyStart
from tgrpo_trainer.policy.densities import draw_numbers, entropy, log_density, tempered
from tgrpo_trainer.policy.footprint import Footprint
from tgrpo_trainer.policy.hub import resolve_checkpoint
from tgrpo_trainer.policy.json_files import read_object, write_object
from tgrpo_trainer.policy.libero_state import STATE_SIZE
from tgrpo_trainer.policy.lora import LoraSettings, add_adapters, load_adapters, save_adapters
from tgrpo_trainer.policy.openvla.actions import STATISTICS_FILE, ActionCodec, read_statistics, statistics_key
from tgrpo_trainer.policy.openvla.base import BaseCheckpoint
from tgrpo_trainer.policy.openvla.decoding import Decoder, parallel_hidden, parallel_logits, teacher_forced_logits
from tgrpo_trainer.policy.openvla.doubts import MAX_ROWS, find_doubt
from tgrpo_trainer.policy.openvla.footprint import lora_targets, measure_footprint
from tgrpo_trainer.policy.openvla.model import OpenVlaModel, Prefix
from tgrpo_trainer.policy.openvla.parts import read_parts
from tgrpo_trainer.policy.openvla.pictures import prepare_pictures
from tgrpo_trainer.policy.openvla.prompt import Prompter
from tgrpo_trainer.policy.openvla.proprio import ProprioCodec
from tgrpo_trainer.policy.openvla.published import load_model, read_companions, write_published
from tgrpo_trainer.policy.openvla.saved_settings import (
    OpenVlaSettings,
    parse_settings,
    read_settings,
    settings_of_start,
)
from tgrpo_trainer.policy.openvla.settings import OpenVlaConfig
from tgrpo_trainer.policy.openvla.weights import MAX_SHARD_BYTES, DType
from tgrpo_trainer.policy.randomness import Randomness
from tgrpo_trainer.policy.restart import refuse_other_kind
from tgrpo_trainer.policy.token_policy import TokenPolicy
from tgrpo_trainer.policy.tokens import choose, score
from tgrpo_trainer.types import ActionSample, LogProbs, PolicyInput

Draw = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Logits to drawn tokens and their log-probabilities."""

KIND = "openvla"
MATCH_WITHIN = 0.05
"""A head's number that is so close to the expert's counts as the expert's: a fortieth of the training data's range."""


class OpenVlaPolicy(TokenPolicy):
    """OpenVLA, one token after another or a whole chunk at once, as tokens or numbers; a choice for each number.

    It looks at the agentview and reads the instruction; OpenVLA-OFT's may look at the wrist's picture too, and at the
    robot's state.

    Attributes:
        base: The checkpoint that its adapters adapt; None without adapters.
        part_files: What the files of its parts were called (`parts`).
        proprio: Normalises the robot's state; None where the model is not shown it.
        saved_by_run: Whether its settings are those that a run saved, which only a new run can change.
    """

    recipe: ClassVar[str] = "openvla_libero"
    memory_advice: ClassVar[str] = (
        "--update.microbatch-size 1; in a new run --policy.openvla.gradient-checkpointing or --policy.lora.rank 32; or "
        "more GPUs; python -m tgrpo_trainer memory says what fits."
    )

    def __init__(
        self,
        model: OpenVlaModel,
        codec: ActionCodec,
        prompter: Prompter,
        settings: OpenVlaSettings,
        *,
        config: dict[str, Any],
        companions: dict[str, bytes],
        part_files: Mapping[str, str] | None = None,
        proprio: ProprioCodec | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.codec = codec
        self.prompter = prompter
        self.settings = settings
        self.config = config
        self.companions = companions
        self.part_files = dict(part_files or {})
        self.proprio = proprio
        self.base: BaseCheckpoint | None = None
        self.towers = tuple(tower.kind for tower in model.architecture.towers)
        self.decoder = Decoder(compiled=settings.compile)
        self.inspected = True
        self.saved_by_run = False
        self.gradient_checkpointing = settings.gradient_checkpointing
        if settings.gradient_checkpointing:
            model.enable_gradient_checkpointing()

    @classmethod
    def start(cls, start: PolicyStart) -> OpenVlaPolicy:
        """See `Policy.start`; a checkpoint, published or of a run, under this run's settings."""
        chosen = start.settings
        assert isinstance(chosen, OpenVlaConfig)
        if start.checkpoint is None:
            raise ConfigError(
                "policy.kind is openvla, which starts from a checkpoint; give its folder, or its name on the hub, with "
                "--policy.checkpoint FOLDER."
            )
        folder = resolve_checkpoint(start.checkpoint).folder
        refuse_other_kind(folder, KIND)
        policy = cls.load(folder, settings_of_start(start, chosen, folder), dtype=chosen.dtype)
        if start.lora is not None:
            policy.adapt(start.lora, BaseCheckpoint.of(start.checkpoint, chosen.dtype), seed=start.adapters_seed)
        return policy

    @classmethod
    def is_published(cls, folder: Path) -> bool:
        """See `Policy.is_published`: published models come without picture size, chunk and decoding."""
        return not (folder / SETTINGS_FILE).is_file()

    @classmethod
    def load(cls, folder: Path, settings: OpenVlaSettings | None = None, dtype: DType | None = None) -> OpenVlaPolicy:
        """Read a published checkpoint, or one that `save` wrote; of a LoRA run, its base and the adapters.

        Args:
            folder: config.json, shards and index, tokenizer.json, perhaps dataset_statistics.json and OpenVLA-OFT's
                parts; or adapters.
            settings: None takes those that `save` left; a published folder has none.
            dtype: Weights are converted to this; None keeps what is stored.

        Raises:
            CheckpointError: Something is missing, damaged or of another model; the action statistics do not cover the
                settings' key; adapters whose base is not there, or that a new run would start from.
            ConfigError: Settings that do not go with the checkpoint's head.
        """
        if (folder / ADAPTER_CONFIG_FILE).is_file():
            if settings is not None or not (folder / SETTINGS_FILE).is_file():
                raise CheckpointError(
                    f"{folder} holds LoRA adapters, which a run goes on with (--resume) but does not start from; merge "
                    f"them first: python -m tgrpo_trainer export {folder} OUT, then name OUT (--policy.checkpoint OUT)."
                )
            return cls._load_adapted(folder)
        config = read_object(folder / CONFIG_FILE)
        chosen = settings or read_settings(folder)
        companions, parts = read_companions(folder), read_parts(folder)
        known = companions.get(STATISTICS_FILE)
        statistics = read_statistics(config, known, chosen.unnorm_key)
        model = load_model(folder, config, dtype, parts=parts, num_pictures=chosen.num_pictures)
        architecture = model.architecture
        chosen.check_head(architecture)
        if architecture.l1_head and settings is not None and settings.noise_scale is not None:
            model.set_scale(settings.noise_scale)
        proprio = None
        if architecture.proprio_dim:
            states = read_statistics(
                config, known, chosen.unnorm_key, of="proprio", size=_checked_state(folder, architecture.proprio_dim)
            )
            proprio = ProprioCodec(states)
        vocab_end = architecture.action_vocab_end
        prompter = Prompter.load(folder, bos_id=architecture.llama.bos_token_id, vocab_end=vocab_end)
        codec = ActionCodec(statistics, num_bins=architecture.num_bins, vocab_end=vocab_end)
        policy = cls(
            model,
            codec,
            prompter,
            chosen,
            config=config,
            companions=companions,
            part_files=parts.files,
            proprio=proprio,
        )
        policy.inspected = False  # no file says which decoding the weights were trained for
        policy.saved_by_run = settings is None
        return policy

    @classmethod
    def _load_adapted(cls, folder: Path) -> OpenVlaPolicy:
        """The base that a LoRA run started from, with the adapters of this folder."""
        path = folder / SETTINGS_FILE
        content = read_object(path)
        base = BaseCheckpoint.from_json(content.pop("base", None), path)
        lora = content.pop("lora", None)
        policy = cls.load(base.find(folder), parse_settings(content, path), base.dtype)
        try:
            policy.adapt(LoraSettings(**lora), base, seed=0)
        except (TypeError, ConfigError) as error:
            raise CheckpointError(f"{path} does not hold the settings of LoRA adapters: {error}") from error
        load_adapters(folder, policy.model)
        policy.saved_by_run = True
        return policy

    def adapt(self, settings: LoraSettings, base: BaseCheckpoint, seed: int) -> None:
        """Freeze the weights and train LoRA adapters instead; the policy's output stays as it is.

        Args:
            settings: Rank, scale and which layers.
            base: The checkpoint that the policy was loaded from.
            seed: Of the new adapters.

        Raises:
            ConfigError: The rank is larger than a layer.
        """
        add_adapters(self.model, settings, lora_targets(self.model, settings.targets), seed)
        self.adapters, self.base = settings, base

    def footprint(self, lora: LoraSettings | None) -> Footprint:
        """See `Policy.footprint`."""
        return measure_footprint(self.model.architecture, next(self.parameters()).dtype, lora)

    @property
    def image_size(self) -> int:
        """Side in pixels of the environment's pictures; they are resized to the towers' (224) here."""
        return self.settings.image_size

    @property
    def action_chunk(self) -> int:
        """C, control steps a decision."""
        return self.settings.action_chunk

    def encode_instructions(self, texts: Sequence[str]) -> Tensor:
        """Token ids of the whole prompts (`prompt.Prompter`)."""
        return self.prompter.encode(texts).to(self.device)

    def encode_actions(self, actions_NCA: Tensor) -> Tensor:
        """Bins or numbers of the environment's actions, as in the published training data (`actions.ActionCodec`)."""
        if self.model.action_head is not None:
            return self.codec.to_numbers(actions_NCA)
        return self.codec.encode(actions_NCA)

    @torch.no_grad()
    def sample(
        self,
        obs: PolicyInput,
        *,
        temperature: float = 1.0,
        greedy: bool = False,
        generator: Randomness = None,
    ) -> ActionSample:
        """See `Policy.sample`; the pictures are looked at once, and all rows are decoded together."""
        was_training = self.training
        self.eval()  # gradient checkpointing, active in training mode only, would bypass the cache
        try:
            if self.model.action_head is not None:
                mean_NK, scale_K = self._density(obs, temperature)
                noise = self.settings.noise
                numbers_NK = mean_NK if greedy else draw_numbers(noise, mean_NK, scale_K, generator)
                logp_NK = log_density(noise, numbers_NK, mean_NK, scale_K)
                return ActionSample(numbers_NK, logp_NK, self.codec.from_numbers(numbers_NK))
            tokens_NK, logp_NK = self._draw(
                obs, lambda logits: choose(logits, temperature=temperature, greedy=greedy, generator=generator)
            )
        finally:
            self.train(was_training)
        return ActionSample(tokens_NK, logp_NK, self.codec.decode(tokens_NK))

    def inspect(self, obs: PolicyInput, choices_NK: Tensor) -> str | None:
        """See `Policy.inspect`; a checkpoint's first decisions tell whether it was trained for this decoding."""
        if self.inspected or self.model.action_head is not None:
            return None
        self.inspected = True
        few, tokens_NK = obs.rows(slice(0, MAX_ROWS)).to(self.device), choices_NK[:MAX_ROWS].to(self.device)
        with torch.no_grad():
            prefix = self._prefix(few)
        return find_doubt(
            self.model,
            prefix,
            self.codec.token_ids(tokens_NK),
            self.settings.decoding,
            saved_by_run=self.saved_by_run,
        )

    def doubt_suite(self, suite: str) -> str | None:
        """See `Policy.doubt_suite`; of a checkpoint of several suites, each has statistics of its own."""
        known = self.companions.get(STATISTICS_FILE)
        taken, own = (statistics_key(self.config, known, key) for key in (self.settings.unnorm_key, suite))
        if own in (None, taken):
            return None
        return (
            f"actions are un-normalised by the statistics of {taken}, as the policy was trained, although it has those "
            f"of {own} too; to take these, set unnorm_key to {suite} in the {SETTINGS_FILE} of a copy of the policy."
        )

    def log_prob(self, obs: PolicyInput, choices_NK: Tensor, temperature: float = 1.0) -> LogProbs:
        """See `Policy.log_prob`; one forward pass, and logits or numbers of the action places only."""
        if self.model.action_head is not None:
            mean_NK, scale_K = self._density(obs, temperature)
            return LogProbs(
                logp_NK=log_density(self.settings.noise, choices_NK, mean_NK, scale_K),
                entropy_NK=entropy(self.settings.noise, scale_K).expand_as(mean_NK),
                greedy_NK=(choices_NK - mean_NK.detach()).abs() <= MATCH_WITHIN,
            )
        prefix = self._prefix(obs)
        if self.settings.decoding == "autoregressive":
            logits_NKV = teacher_forced_logits(self.model, prefix, self.codec.token_ids(choices_NK))
        else:
            logits_NKV = parallel_logits(self.model, prefix, choices_NK.shape[1])
        return score(logits_NKV, choices_NK, temperature)

    def train(self, mode: bool = True) -> OpenVlaPolicy:  # noqa: FBT001, FBT002 (torch's signature)
        """Switch to training, and give the memory of decoding to it; a compiled step keeps the memory it knows."""
        if mode and not self.settings.compile:
            self.decoder.release()
        return super().train(mode)

    def save(
        self, folder: Path, state: Mapping[str, Tensor] | None = None, *, max_shard_bytes: int = MAX_SHARD_BYTES
    ) -> None:
        """Write the published format (config.json, shards, index, parts, companions) and this policy's settings.

        Of a LoRA run: the adapters in peft's format, and in the settings where their base is.
        """
        whole = self.state_dict() if state is None else state
        weights = {name.removeprefix("model."): tensor for name, tensor in whole.items()}
        if self.adapters is not None and self.base is not None:
            save_adapters(folder, self.model, self.base.checkpoint, weights)
            more = {"lora": asdict(self.adapters), "base": asdict(self.base)}
            write_object(folder / SETTINGS_FILE, {"kind": KIND, **asdict(self.settings), **more})
            return
        write_published(folder, weights, self.config, self.companions, max_shard_bytes, self.part_files)
        write_object(folder / SETTINGS_FILE, {"kind": KIND, **asdict(self.settings)})

    def _draw(self, obs: PolicyInput, draw: Draw) -> tuple[Tensor, Tensor]:
        """tokens_NK and logp_NK of one decision."""
        prefix = self._prefix(obs)
        if self.settings.decoding == "parallel":
            return draw(parallel_logits(self.model, prefix, self.tokens_per_decision))
        drawn: list[tuple[Tensor, Tensor]] = []

        def draw_next(logits_NV: Tensor) -> Tensor:
            drawn.append(draw(logits_NV))
            return self.model.embed(self.codec.token_ids(drawn[-1][0]))

        self.decoder.decode(self.model, prefix, self.tokens_per_decision, draw_next)
        tokens, logp = zip(*drawn, strict=True)
        return torch.stack(tokens, dim=1), torch.stack(logp, dim=1)

    def _density(self, obs: PolicyInput, temperature: float) -> tuple[Tensor, Tensor]:
        """mean_NK and scale_K, float32, of the numbers that a regression head gives."""
        assert self.model.action_head is not None
        mean_NK = self.model.action_head(parallel_hidden(self.model, self._prefix(obs), self.tokens_per_decision))
        scale_K = self.model.scale().repeat(self.action_chunk)
        return mean_NK, tempered(self.settings.noise, scale_K, temperature)

    def _prefix(self, obs: PolicyInput) -> Prefix:
        pictures = (obs.agentview_NHWC, obs.wrist_NHWC)[: self.model.architecture.num_pictures]
        pixels = [
            prepare_pictures(
                images_NHWC,
                self.towers,
                size=self.model.image_size,
                center_crop=self.settings.center_crop,
                jpeg=self.settings.jpeg,
            )
            for images_NHWC in pictures
        ]
        state_NP = None if self.proprio is None else self.proprio.encode(obs.proprio_NP)
        return self.model.prefix(torch.cat(pixels, dim=1), obs.instruction_NL, state_NP)


def _checked_state(folder: Path, size: int) -> int:
    if size != STATE_SIZE:
        raise CheckpointError(
            f"The projector of {folder} takes {size} numbers of the robot's state, but LIBERO's state has "
            f"{STATE_SIZE}: the checkpoint is for another robot."
        )
    return size
