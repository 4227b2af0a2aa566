"""PPO with a critic, Stable-Baselines3's, from the clone of a run: what a critic-free method is compared with.

It has the run's environment, clone, temperature, passes, minibatches, learning rate and trust region, and as many
decisions as the run's rollouts may take. The critic is a network of the library's default size on what the actor
makes of an observation before its last layer; discount and GAE are the library's defaults too.
"""

from __future__ import annotations

import math
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from tqdm import tqdm

from tgrpo_envs.errors import CheckpointError, ConfigError
from tgrpo_envs.extras import needs_extra
from tgrpo_trainer.config import TrainConfig
from tgrpo_trainer.evaluation.result import load_evaluations, pool, save_evaluations
from tgrpo_trainer.evaluation.tasks import evaluate_tasks, plan_of_run
from tgrpo_trainer.metrics.metrics import Mean, MetricsWriter, evaluation_metrics
from tgrpo_trainer.policy.base import Policy
from tgrpo_trainer.policy.nano.policy import NanoPolicy
from tgrpo_trainer.rollout.environment import env_keywords, make_envs
from tgrpo_trainer.rollout.tasks import TaskEnvs
from tgrpo_trainer.run.checkpoint import PARAM_GROUPS, latest_checkpoint, load_checkpoint, save_checkpoint
from tgrpo_trainer.run.console import say
from tgrpo_trainer.run.layout import CHECKPOINTS_NAME, EVALUATIONS_NAME, LAST_NAME, iteration_name
from tgrpo_trainer.run.rng import Stream, derive_seed
from tgrpo_trainer.studies.actor_critic import CloneActorCritic, TokenActions

with needs_extra("sb3"):
    from stable_baselines3 import PPO
    from stable_baselines3.common.callbacks import BaseCallback

    from tgrpo_envs.bridges.sb3 import make_vec


def learn_by_ppo(config: TrainConfig) -> Path:
    """Learn from the clone in `config.run.path`, and evaluate before and after.

    It is not resumed: a run that was interrupted begins again from its clone. One that has ended stays as it is.

    Args:
        config: The run's settings; their objective and filter of groups do not count.

    Returns:
        The folder of the evaluations.

    Raises:
        CheckpointError: The folder holds no clone.
        ConfigError: A run that has learnt otherwise, several tasks, minibatches of one decision, or a policy that is
            not nano.
    """
    folder = config.run.path
    last = latest_checkpoint(folder / LAST_NAME)
    if last is None:
        raise CheckpointError(f"{folder} holds no clone to learn from; make it with sft.")
    if config.update.minibatch_size < 2:
        raise ConfigError("update.minibatch_size is 1, but PPO compares the decisions of a minibatch; give 2 or more.")
    start, rounds = load_checkpoint(last), config.run.iterations
    # PPO's own last checkpoint holds no optimiser: of such a run only the evaluation may be missing.
    if start.iteration > 0 and (PARAM_GROUPS in start.state or start.iteration != rounds):
        raise ConfigError(f"{folder} holds a run that has learnt already; give a folder that only sft has filled.")
    began = time.monotonic() - float(start.state["elapsed_s"])  # the minutes of cloning are the run's too
    policy = start.policy
    if not isinstance(policy, NanoPolicy):
        raise ConfigError(f"The policy of {folder} is of kind {config.policy.kind}; PPO is written for nano.")
    instruction = config.env.resolved_task.instruction
    with closing(MetricsWriter(folder, next_iteration=start.iteration + 1)) as log:
        if start.iteration < rounds:
            _evaluate(config, policy, 0, log, began)
            model = _make_ppo(config, policy, instruction)
            with closing(model.get_env()):
                model.learn(rounds * model.n_steps * model.n_envs, callback=_Rounds(log, rounds))
            # What eval, serve and export take of the folder, and what keeps train from going on with it.
            state = {"elapsed_s": time.monotonic() - began}
            save_checkpoint(folder / LAST_NAME, iteration=rounds, policy=policy, state=state)
        _evaluate(config, policy, rounds, log, began)
    return folder / EVALUATIONS_NAME


def decisions_of_an_episode(config: TrainConfig) -> int:
    """Most decisions of an episode."""
    horizon = config.env.horizon or config.env.resolved_task.horizon
    return math.ceil(horizon / config.env.action_chunk)


def _make_ppo(config: TrainConfig, actor: NanoPolicy, instruction: str) -> Any:
    """Stable-Baselines3's PPO whose rounds are the run's iterations."""
    update, last = config.update, config.update.final_learning_rate_ratio
    venv = make_vec(config.env.env_id, config.rollout.num_envs, **env_keywords(config.env))
    return PPO(
        CloneActorCritic,
        TokenActions(venv, actor),
        learning_rate=lambda left: update.learning_rate * (last + (1.0 - last) * left),
        n_steps=decisions_of_an_episode(config),
        batch_size=update.minibatch_size,
        n_epochs=update.num_iterations,
        max_grad_norm=update.max_grad_norm,
        # Of a whole decision: the run's is of a token.
        target_kl=None if update.target_kl is None else update.target_kl * actor.tokens_per_decision,
        seed=derive_seed(config.run.seed, Stream.ACTIONS),  # of start states and actions
        policy_kwargs={
            "temperature": config.rollout.temperature,
            "features_extractor_kwargs": {"actor": actor, "instruction": instruction},
        },
        device="cpu",
    )


class _Rounds(BaseCallback):  # type: ignore[misc] # the library has no types here
    """Logs each round as an iteration: success and return of the episodes that ended in it."""

    def __init__(self, log: MetricsWriter, rounds: int) -> None:
        super().__init__()
        self._log, self._done, self._ended = log, 0, list[dict[str, Any]]()
        self._bar = tqdm(total=rounds, desc="PPO", disable=None)

    def _on_step(self) -> bool:
        self._ended += [info for info in self.locals["infos"] if "episode" in info]
        return True

    def _on_rollout_end(self) -> None:
        self._done += 1
        success = Mean.of(bool(info["success"]) for info in self._ended)
        returned = Mean.of(info["episode"]["r"] for info in self._ended)
        self._log.write(self._done, {"rollout/success_rate": success, "rollout/return": returned})
        self._ended.clear()
        self._bar.set_postfix_str(f"success={success.value:.2f}")
        self._bar.update()

    def _on_training_end(self) -> None:
        self._bar.close()


def _evaluate(config: TrainConfig, policy: Policy, done: int, log: MetricsWriter, began: float) -> None:
    """As a run does it, where it was not done before."""
    folder = config.run.path
    path = folder / EVALUATIONS_NAME / f"{iteration_name(done)}.json"
    if path.is_file():
        if not log.has_evaluation(done):
            log.write(done, evaluation_metrics(load_evaluations(path)))
        return
    rollout = config.rollout
    with closing(TaskEnvs(config.env, rollout.num_envs, rollout.num_generations, make_envs)) as envs:
        plan = plan_of_run(config, envs.tasks, done)
        evaluations, _ = evaluate_tasks(policy, plan, envs.lend, num_envs=rollout.num_envs)
    pooled = pool(evaluations)
    state = {"elapsed_s": time.monotonic() - began}
    score = pooled[0].success_rate
    save_checkpoint(folder / CHECKPOINTS_NAME, iteration=done, policy=policy, state=state, score=score)
    save_evaluations(path, evaluations)
    log.write(done, evaluation_metrics(evaluations))
    for count in pooled:
        say(f"After {done:3d} iterations, {count.states}, {count.mode}: {count}")
