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
from tgrpo_trainer.objectives import Grpo, ReinforceLeaveOneOut, StageReturn, Tgrpo
from tgrpo_trainer.policy.nano.settings import NanoSettings
from tgrpo_trainer.policy.openvla.settings import OpenVlaConfig
from tgrpo_trainer.policy.settings import LoraConfig, PolicyConfig
from tgrpo_trainer.policy.smolvla.settings import SmolVlaConfig

_MIXED = "0.1..0.9"
"""Groups that SimpleVLA-RL, siiRL and RLinf keep, by their share of successes."""


def quickstart() -> TrainConfig:
    """Pick up the ketchup: clone 16 demonstrations, then stage return; ten minutes on two cores."""
    return TrainConfig(
        # The primitive pack is on every machine, so the recipe plays out alike everywhere.
        env=EnvConfig(
            suite="libero_object",
            tasks=(4,),
            assets="primitive",
            reward="compiled",  # what docs/results.md was measured with
            image_size=64,
            action_chunk=8,
            horizon=128,
        ),
        # 14 choices a decision instead of 56: each gets more of the credit, and explores a movement, not a tremor. Held
        # for four steps an even bin is 2 cm, the width of a missed grasp; denser around 0 it is 6 mm.
        policy=PolicyConfig(nano=NanoSettings(steps_per_token=4, bin_power=1.5)),
        sft=SftConfig(num_demos=16, max_steps=500),
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


def libero_suite_nano() -> TrainConfig:
    """One policy for a suite of ten tasks: clone 16 demonstrations each, then stage return; an hour on two cores."""
    one_task = quickstart()  # every setting that is not here is the quickstart's, which was measured with one task
    return one_task.replace(
        # 128 control steps are the quickstart's, for LIBERO-Object; another suite may need --env.horizon.
        env={**one_task.env.model_dump(), "tasks": "all"},
        # The quickstart draws each decision of its 16 demonstrations about 24 times. Ten tasks have ten times as many
        # decisions, and share what they look like: six times the steps draw each about 14 times. Not searched.
        sft={**one_task.sft.model_dump(), "max_steps": 3000},
        # Each task has one state an iteration, of as many members as the quickstart's (peers: a group is one state of
        # one task, all tasks weigh the same).
        rollout={**one_task.rollout.model_dump(), "num_groups": 10},
        # 80 episodes where the quickstart has 64, so minibatches that take as many steps a pass.
        update={**one_task.update.model_dump(), "minibatch_size": 640},
        # 20 states of each set and task: 200 pooled, an interval of at most 14 points; 1,600 episodes in all.
        evaluation={**one_task.evaluation.model_dump(), "every": 1000, "num_heldout": 20, "num_official": 20},
        # 13 s an iteration of 64 episodes (docs/results.md) are 16 s of 80: 110 take half an hour. The clock ends
        # the run with its last evaluation within the hour on a slower machine.
        run=RunConfig(name="libero_suite_nano", iterations=110, max_minutes=60.0),
    )


def smoke() -> TrainConfig:
    """Every part of a run once, in seconds: a check of the machinery that learns nothing."""
    return TrainConfig(
        env=EnvConfig(assets="primitive", image_size=32, action_chunk=8, horizon=32),
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
        env=EnvConfig(suite="libero_object", tasks=(0,), assets="libero", image_size=256, action_chunk=1),
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


def openvla_libero_suite() -> TrainConfig:
    """One OpenVLA for a suite: LoRA, trajectory GRPO on success alone; give --policy.checkpoint. Not run."""
    one_task = openvla_libero()
    # Horizon and pictures are those of OpenVLA's own evaluation.
    env = EnvConfig(
        suite="libero_10",
        tasks=("all",),
        assets="libero",
        reward="sparse",
        image_size=256,
        action_chunk=1,
    )
    return one_task.replace(
        env=env,
        # Groups of 8, temperature and clip range: SimpleVLA-RL, which trains this model too. One start a task: VLA-RL.
        rollout=RolloutConfig(num_groups=10, num_generations=8, temperature=1.6, filter=_MIXED),
        objective=_trajectory_grpo(),
        # The learning rate of LoRA and the decisions of a step: TorchRL's vla_grpo. That it is constant is ours.
        update=UpdateConfig(
            learning_rate=5e-6,
            final_learning_rate_ratio=1.0,
            warmup_iterations=0,
            num_iterations=1,
            minibatch_size=128,
            microbatch_size=8,
            optimizer="adamw_master",
        ),
        run=RunConfig(name="openvla_libero_suite", iterations=100),
    )


def openvla_oft_suite() -> TrainConfig:
    """One OpenVLA-OFT (token head) for a suite, every weight trained, as SimpleVLA-RL; 8 GPUs of 80 GB. Not run."""
    lora = openvla_libero_suite()
    return lora.replace(
        # 512 steps whatever the suite, chunks of 8: SimpleVLA-RL, siiRL, TorchRL and RLinf. OpenVLA's own evaluation is
        # shorter (220 to 520), so successes are not comparable with it.
        env={**lora.env.model_dump(), "action_chunk": 8, "horizon": 512},
        policy=PolicyConfig(
            kind="openvla",
            openvla=OpenVlaConfig(decoding="parallel", gradient_checkpointing=True),
        ),
        # SimpleVLA-RL: 64 starts in groups of 8 at 1.6.
        rollout=RolloutConfig(num_groups=64, num_generations=8, temperature=1.6, filter=_MIXED),
        # SimpleVLA-RL's learning rate for all weights; the 128 decisions of a step are TorchRL's.
        update={**lora.update.model_dump(), "learning_rate": 5e-6},
        run=RunConfig(name="openvla_oft_suite", iterations=100),
    )


def openvla_oft_l1_suite() -> TrainConfig:
    """OpenVLA-OFT as published (L1 head, two pictures, state) for a suite: LoRA, as RIPT; GPUs of 80 GB. Not run."""
    tokens = openvla_oft_suite()
    return tokens.replace(
        # The suite's own horizon: OpenVLA-OFT's evaluation, and RIPT.
        env={**tokens.env.model_dump(), "horizon": None},
        # Rank and layers: RIPT, which trains the head beside them; here it has adapters too. The scale of the noise is
        # the least of RIPT's; it stays as it is, as in RIPT (there from a head of its own, fitted to demonstrations).
        policy=PolicyConfig(
            kind="openvla",
            lora=LoraConfig(rank=32, alpha=16.0),
            openvla=OpenVlaConfig(decoding="parallel", gradient_checkpointing=True, noise="laplace"),
        ),
        # RIPT: 24 starts in groups of 8. Its rollouts are noisier than its scale says (times 5), ours are as scored.
        rollout=RolloutConfig(num_groups=24, num_generations=8, temperature=1.0, filter=_MIXED),
        # RIPT: leave-one-out, clipped at 0.1, no KL.
        objective=ReinforceLeaveOneOut(epsilon=0.1, beta=0.0),
        # RIPT: 5e-5, and 16 trajectories a step, which are up to 1,040 decisions of LIBERO-Long.
        update={**tokens.update.model_dump(), "learning_rate": 5e-5, "minibatch_size": 1024},
        run=RunConfig(name="openvla_oft_l1_suite", iterations=100),
    )


def smolvla_libero() -> TrainConfig:
    """SmolVLA's flow on one task; give --policy.checkpoint and a GPU. Not run with published weights."""
    one_task = openvla_libero()
    return one_task.replace(
        # Chunk, steps, groups, clip range, learning rate: RLinf's GRPO of pi0, another flow, on LIBERO. Its last step
        # is as noisy: 0.5 sqrt(t / (1 - t)) sqrt(D) = 0.14 at t = D = 1/4.
        env={**one_task.env.model_dump(), "action_chunk": 5},
        policy=PolicyConfig(kind="smolvla", smolvla=SmolVlaConfig(noise_level=0.6, num_steps=4)),
        rollout=RolloutConfig(num_groups=8, num_generations=8),
        objective=Tgrpo(epsilon=0.2, beta=0.0, std_floor=0.1),
        # RLinf's steps have 2,048 decisions, of many episodes more.
        update=UpdateConfig(learning_rate=5e-6, num_iterations=1, minibatch_size=256, microbatch_size=8),
        run=RunConfig(name="smolvla_libero", iterations=100),
    )


def _trajectory_grpo() -> Grpo:
    """The objective of SimpleVLA-RL, siiRL, TorchRL's vla_grpo and RLinf: success compared within groups, no KL."""
    return Grpo(epsilon=0.2, epsilon_high=0.28, beta=0.0)


RECIPES: dict[str, Callable[[], TrainConfig]] = {
    "quickstart": quickstart,
    "libero_suite_nano": libero_suite_nano,
    "smoke": smoke,
    "openvla_libero": openvla_libero,
    "openvla_libero_full": openvla_libero_full,
    "openvla_libero_suite": openvla_libero_suite,
    "openvla_oft_suite": openvla_oft_suite,
    "openvla_oft_l1_suite": openvla_oft_l1_suite,
    "smolvla_libero": smolvla_libero,
}


def get_recipe(name: str) -> TrainConfig:
    """The recipe's settings.

    Raises:
        UnknownNameError: No recipe has this name; the message offers near matches.
    """
    if name not in RECIPES:
        raise UnknownNameError("recipe", name, RECIPES)
    return RECIPES[name]()
