"""Named runs: each recipe is a function that returns a complete TrainConfig."""

from __future__ import annotations

from collections.abc import Callable

from tgrpo_envs.errors import UnknownNameError
from tgrpo_trainer.config import (
    EnvConfig,
    EvaluationConfig,
    RolloutConfig,
    RunConfig,
    SftConfig,
    TrainConfig,
    UpdateConfig,
)
from tgrpo_trainer.objectives import StageReturn, Tgrpo
from tgrpo_trainer.policy.nano.settings import NanoSettings
from tgrpo_trainer.policy.openvla.settings import OpenVlaConfig
from tgrpo_trainer.policy.settings import LoraConfig, PolicyConfig


def quickstart() -> TrainConfig:
    """Pick up the ketchup: clone 16 demonstrations, then stage return; 12 minutes on two cores."""
    return TrainConfig(
        # The primitive pack is on every machine, so the recipe plays out alike everywhere.
        env=EnvConfig(
            suite="libero_object",
            task=4,
            assets="primitive",
            reward="compiled",  # what docs/results.md was measured with
            image_size=64,
            action_chunk=8,
            max_control_steps=128,
        ),
        # 14 choices a decision instead of 56: each gets more of the credit, and explores a movement, not a tremor. Held
        # for four steps an even bin is 2 cm, the width of a missed grasp; denser around 0 it is 6 mm.
        policy=PolicyConfig(nano=NanoSettings(steps_per_token=4, bin_power=1.5)),
        sft=SftConfig(num_demos=16, max_steps=600),
        # A clone's own temperature misses grasps that its most probable tokens make.
        rollout=RolloutConfig(num_groups=8, num_generations=8, temperature=0.5),
        # Steps count by what they lead to. Without a floor, a group that fails alike is told apart by hundredths of
        # progress, at full strength.
        objective=StageReturn(anchor="clock", discount=0.9, trajectory_weight=0.3, beta=0.02, std_floor=0.1),
        update=UpdateConfig(
            learning_rate=3e-4,
            final_learning_rate_ratio=0.1,
            num_iterations=4,
            minibatch_size=512,
            warmup_iterations=3,
            target_kl=0.02,
            gradient_cosine=True,
        ),
        evaluation=EvaluationConfig(every=32, num_heldout=100, num_official=50, temperature=0.5),
        # The clock is for machines that would take hours: one half as fast as intended does all iterations.
        run=RunConfig(name="quickstart", iterations=32, max_minutes=40.0),
    )


def smoke() -> TrainConfig:
    """Every part of a run once, in seconds: a check of the machinery that learns nothing."""
    return TrainConfig(
        env=EnvConfig(assets="primitive", image_size=32, action_chunk=8, max_control_steps=32),
        sft=SftConfig(num_demos=1, max_steps=4, batch_size=8),
        rollout=RolloutConfig(num_groups=1, num_generations=2),
        update=UpdateConfig(num_iterations=1, minibatch_size=8, warmup_iterations=0),
        evaluation=EvaluationConfig(every=1, num_heldout=2, num_official=2),
        run=RunConfig(name="smoke", iterations=1),
    )


def openvla_libero() -> TrainConfig:
    """The paper's experiment: LoRA on a fine-tuned OpenVLA, one task; give --policy.checkpoint and a GPU of 24 GB."""
    return TrainConfig(
        # LIBERO's own look, at the size and one step at a time: what the published checkpoints were trained on.
        env=EnvConfig(suite="libero_object", task=0, assets="libero", image_size=256, action_chunk=1),
        # LoRA is the paper's; it does not say the rank or the layers, so these are OpenVLA's own fine-tuning's.
        policy=PolicyConfig(
            kind="openvla",
            lora=LoraConfig(rank=32, alpha=16.0),
            openvla=OpenVlaConfig(gradient_checkpointing=True),
        ),
        sft=SftConfig(max_steps=0),
        # Four members and the common end are the paper's. It does not say its temperature; VLA-RL found 1.5 better
        # than 1.0 for the same model.
        rollout=RolloutConfig(num_groups=2, num_generations=4, temperature=1.5, end="any_success"),
        # The paper has a KL term and does not say its weight. It would cost a forward pass and no memory.
        objective=Tgrpo(beta=0.0, std_floor=0.1),
        # The learning rate is the paper's; passes, minibatches and schedule it does not say.
        update=UpdateConfig(
            learning_rate=1e-5, num_iterations=1, minibatch_size=64, microbatch_size=8, optimizer="adamw_master"
        ),
        evaluation=EvaluationConfig(every=25, num_heldout=50, num_official=50),
        run=RunConfig(name="openvla_libero", iterations=100),
    )


def openvla_libero_full() -> TrainConfig:
    """The same with every weight trained; a GPU of 80 GB, or several. Not the paper's."""
    lora = openvla_libero()
    return lora.replace(
        policy=PolicyConfig(kind="openvla", openvla=OpenVlaConfig(gradient_checkpointing=True)),
        # The learning rate of VLA-RL and SimpleVLA-RL; ten times as much destroyed the policy there. With 141 GB, or
        # from two GPUs of 80 GB on, float32 master weights fit too: --update.optimizer adamw_master.
        update=UpdateConfig(
            learning_rate=5e-6, num_iterations=1, minibatch_size=64, microbatch_size=8, optimizer="adamw_stochastic"
        ),
        run=RunConfig(name="openvla_libero_full", iterations=100),
    )


RECIPES: dict[str, Callable[[], TrainConfig]] = {
    "quickstart": quickstart,
    "smoke": smoke,
    "openvla_libero": openvla_libero,
    "openvla_libero_full": openvla_libero_full,
}


def get_recipe(name: str) -> TrainConfig:
    """The recipe's settings.

    Raises:
        UnknownNameError: No recipe has this name; the message offers near matches.
    """
    if name not in RECIPES:
        raise UnknownNameError("recipe", name, RECIPES)
    return RECIPES[name]()
