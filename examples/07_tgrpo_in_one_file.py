"""TGRPO from top to bottom in one file: groups of rollouts, advantages, loss, update (arXiv 2506.08440).

    python examples/07_tgrpo_in_one_file.py --policy runs/NAME/last/iteration_000000/policy --iterations 20

A policy from `python -m tgrpo_trainer sft` learns; without one, a random policy shows the steps. The trainer does the
same (a test compares an iteration of both, number for number) and adds what a long run needs: checkpoints, evaluation,
several GPUs, options. Axes: B groups, G members of a group, T decisions, K action tokens a decision, N rows.
"""

import argparse
import copy
from pathlib import Path

import gymnasium as gym
import numpy as np
import torch

from tgrpo_trainer.policy import load_policy
from tgrpo_trainer.policy.nano.policy import NanoConfig, NanoPolicy
from tgrpo_trainer.types import PolicyInput

ALPHA_STEP, ALPHA_TRAJECTORY = 0.3, 0.7
EPSILON, BETA = 0.2, 0.05
STD_FLOOR = 0.1
PASSES, MINIBATCH, MAX_GRAD_NORM, LEARNING_RATE = 4, 256, 1.0, 2e-4


def rollout(policy, envs, seeds, group_size, generators):
    """Play all members to their end; a list of decisions for each, in the order of the environment."""
    policy.eval()
    observation, _ = envs.reset(seed=seeds, options={"init_states": "train", "group_size": group_size})
    words_NL = policy.encode_instructions([envs.task_description] * envs.num_envs)
    episodes = [[] for _ in range(envs.num_envs)]
    steps_N = np.zeros(envs.num_envs, dtype=int)  # control steps so far
    live = np.arange(envs.num_envs)
    while len(live):
        seen = PolicyInput.from_observation({key: rows[live] for key, rows in observation.items()}, words_NL[live])
        drawn = policy.sample(seen, generator=[generators[i] for i in live])
        actions_NCA = np.zeros((envs.num_envs, policy.action_chunk, 7), dtype=np.float32)
        actions_NCA[live] = drawn.actions_NCA.numpy()
        observation, rewards_N, terminated_N, truncated_N, info = envs.step(actions_NCA)
        # A chunk stops where its episode does: tokens of control steps that never ran do not count.
        ran_NC = np.arange(policy.action_chunk) < (info["control_steps"] - steps_N)[:, None]
        ran_NK = policy.counted(torch.from_numpy(ran_NC))
        for row, i in enumerate(live):
            episodes[i].append(
                {
                    "seen": seen.rows(slice(row, row + 1)),
                    "tokens_K": drawn.choices_NK[row],
                    "old_logp_K": drawn.logp_NK[row],
                    "ran_K": ran_NK[i],
                    "reward": rewards_N[i],
                }
            )
        steps_N = info["control_steps"].copy()
        live = np.flatnonzero(~(terminated_N | truncated_N))
    return episodes, info["success"]


def normalise(values_M):
    """(x - mean) / std of members that are compared; 0 where all are alike."""
    if len(values_M) < 2 or np.ptp(values_M) < 1e-9 * np.abs(values_M).max():
        return np.zeros(len(values_M))
    return (values_M - values_M.mean()) / max(values_M.std(ddof=1), STD_FLOOR)


def advantages(rewards):
    """Of one group: what each decision is worth beside the other members', at the same time and on the whole.

    A[i,t] = ALPHA_STEP * (r[i,t] - mean_i r[.,t]) / std_i r[.,t]  +  ALPHA_TRAJECTORY * (R[i] - mean R) / std R
    """
    trajectory_G = normalise(np.array([sum(rewards_T) for rewards_T in rewards]))
    fused = [
        np.full(len(rewards_T), ALPHA_TRAJECTORY * each) for rewards_T, each in zip(rewards, trajectory_G, strict=True)
    ]
    for t in range(max(map(len, rewards))):
        alive = [i for i, rewards_T in enumerate(rewards) if t < len(rewards_T)]
        for i, step in zip(alive, normalise(np.array([rewards[i][t] for i in alive])), strict=True):
            fused[i][t] += ALPHA_STEP * step
    return fused


def make_batch(episodes, group_size):
    """Rows of all decisions of all groups that tell their members apart; every member weighs the same."""
    kept = []
    for first in range(0, len(episodes), group_size):
        group = episodes[first : first + group_size]
        fused = advantages([[decision["reward"] for decision in episode] for episode in group])
        if any(each.any() for each in fused):
            kept += zip(group, fused, strict=True)
    if not kept:
        return None
    decisions = [decision for episode, _ in kept for decision in episode]
    return {
        "seen": PolicyInput.cat([decision["seen"] for decision in decisions]),
        **{key: torch.stack([decision[key] for decision in decisions]) for key in ("tokens_K", "old_logp_K", "ran_K")},
        "advantages_N": torch.tensor(np.concatenate([fused for _, fused in kept]), dtype=torch.float32),
        "weights_N": torch.tensor([1 / (len(kept) * len(episode)) for episode, _ in kept for _ in episode]),
    }


def loss(policy, batch, ref_logp_NK, rows):
    """-J = -sum of weights * ( min(rho A, clip(rho) A) - BETA * KL to the reference ), averaged over a row's tokens."""
    logp_NK = policy(batch["seen"].rows(rows), batch["tokens_K"][rows]).logp_NK
    rho_NK = (logp_NK - batch["old_logp_K"][rows]).exp()
    advantages_N1 = batch["advantages_N"][rows, None]
    gain_NK = torch.minimum(rho_NK * advantages_N1, rho_NK.clamp(1 - EPSILON, 1 + EPSILON) * advantages_N1)
    ref_ratio_NK = (ref_logp_NK[rows] - logp_NK).exp()
    kl_NK = ref_ratio_NK - ref_ratio_NK.log() - 1  # Schulman's k3: never negative
    ran_NK, weights_N = batch["ran_K"][rows], batch["weights_N"][rows]
    objective_N = ((gain_NK - BETA * kl_NK) * ran_NK).sum(1) / ran_NK.sum(1)
    return -(objective_N * weights_N).sum() / weights_N.sum()


def update(policy, reference, optimizer, batch, shuffler):
    """Several passes over the batch in shuffled minibatches, one clipped optimiser step each."""
    policy.train()
    with torch.no_grad():
        ref_logp_NK = reference(batch["seen"], batch["tokens_K"]).logp_NK
    num_rows = len(batch["advantages_N"])
    for _ in range(PASSES):
        for rows in torch.randperm(num_rows, generator=shuffler).tensor_split(-(-num_rows // MINIBATCH)):
            optimizer.zero_grad()
            loss(policy, batch, ref_logp_NK, rows).backward()
            torch.nn.utils.clip_grad_norm_(policy.parameters(), MAX_GRAD_NORM)
            optimizer.step()


def iterate(policy, reference, optimizer, envs, group_size, *, seeds, generators, shuffler):
    """One iteration of TGRPO; returns the members' successes."""
    episodes, success_N = rollout(policy, envs, seeds, group_size, generators)
    batch = make_batch(episodes, group_size)
    if batch is not None:
        update(policy, reference, optimizer, batch, shuffler)
    return success_N


def main():
    """Iterate, and print how many episodes succeeded."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policy", type=Path, help="folder of a nano policy; none = a random one")
    parser.add_argument("--suite-id", default="TGRPO-LiberoObject-v0", help="Gymnasium id of the suite")
    parser.add_argument("--task", type=int, default=4, help="index of the task within the suite")
    parser.add_argument("--iterations", type=int, default=1)
    parser.add_argument("--groups", type=int, default=2, help="start states an iteration")
    parser.add_argument("--members", type=int, default=4, help="trajectories from each start state")
    parser.add_argument("--horizon", type=int, default=48, help="control steps of an episode")
    options = parser.parse_args()

    torch.manual_seed(0)
    policy = load_policy(options.policy) if options.policy else NanoPolicy(NanoConfig(action_chunk=8))
    reference = copy.deepcopy(policy).eval()
    optimizer = torch.optim.AdamW(policy.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.95), weight_decay=0.0)
    envs = gym.make_vec(
        f"tgrpo_envs:{options.suite_id}",
        num_envs=options.groups * options.members,
        task=options.task,
        assets="primitive",
        image_size=policy.image_size,
        action_chunk=policy.action_chunk,
        horizon=options.horizon,
        autoreset_mode="Disabled",  # a member that has ended waits for the others
    )
    for iteration in range(options.iterations):
        seeds = [1000 * iteration + i for i in range(envs.num_envs)]
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        shuffler = torch.Generator().manual_seed(iteration)
        success_N = iterate(
            policy, reference, optimizer, envs, options.members, seeds=seeds, generators=generators, shuffler=shuffler
        )
        print(f"iteration {iteration + 1}: {success_N.sum()} of {len(success_N)} episodes succeeded")
    envs.close()


if __name__ == "__main__":
    main()
