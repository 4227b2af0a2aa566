"""PPO of Stable-Baselines3 learns to grasp from the stage reward alone, on state observations; writes its curve.

python examples/09_ppo_learns_a_grasp.py --minutes 20
python examples/09_ppo_learns_a_grasp.py --bddl my_task.bddl --target akita_black_bowl_1   # a task of your own
"""

import argparse
import csv
import time
from pathlib import Path

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnvWrapper, VecNormalize

from tgrpo_envs.bridges.sb3 import make_vec

HOLD = 5  # control steps that a decision is held: at 4 Hz chance reaches further than at 20 Hz
HORIZON = 150  # control steps, enough to go there, close and lift


class Grasp(VecEnvWrapper):
    """What matters for one object: its place and touch; three translations and the gripper, the hand as it is."""

    def __init__(self, env, target: str) -> None:
        layout = env.get_attr("state_layout")[0]
        wanted = ("gripper/", f"{target}/", "goal_0/", "stage/")
        self.columns = np.concatenate([np.r_[part] for name, part in layout.items() if name.startswith(wanted)])
        self.stage_names = env.get_attr("stage_names")[0]
        self.reached_NK = np.zeros((env.num_envs, len(self.stage_names)), dtype=bool)
        self.ended = []  # of each episode, which stages it ever did
        seen = spaces.Box(-np.inf, np.inf, self.columns.shape, np.float32)
        super().__init__(env, seen, spaces.Box(-1.0, 1.0, (4,), np.float32))

    def reset(self):
        """Start all members anew."""
        self.reached_NK[:] = False
        return self.venv.reset()["state"][:, self.columns]

    def step_async(self, actions_N4) -> None:
        """Hold each action for some control steps."""
        actions_N7 = np.concatenate([actions_N4[:, :3], np.zeros_like(actions_N4[:, :3]), actions_N4[:, 3:]], axis=1)
        self.venv.step_async(np.repeat(actions_N7[:, None], HOLD, axis=1))

    def step_wait(self):
        """Play them, and keep book of stages."""
        observations, rewards_N, done_N, infos = self.venv.step_wait()
        for row, info in enumerate(infos):
            self.reached_NK[row] |= info["stages"]
            if done_N[row]:
                info["terminal_observation"] = info["terminal_observation"]["state"][self.columns]
                self.ended.append(self.reached_NK[row].copy())
                self.reached_NK[row] = False
        return observations["state"][:, self.columns], rewards_N, done_N, infos


class Curve(BaseCallback):
    """After every rollout a row: minutes, decisions, and the share of its episodes that ever did each stage."""

    def __init__(self, env: Grasp, path: Path, minutes: float) -> None:
        super().__init__()
        self.env, self.path, self.minutes = env, path, minutes
        self.began = time.monotonic()
        self.rows = []

    def _on_step(self) -> bool:
        return time.monotonic() - self.began < 60.0 * self.minutes

    def _on_rollout_end(self) -> None:
        if self.env.ended:
            shares_K = np.mean(self.env.ended, axis=0)
            self.rows.append([(time.monotonic() - self.began) / 60.0, self.num_timesteps, *shares_K])
            self.env.ended.clear()
            minutes, decisions, *shares = self.rows[-1]
            words = "  ".join(f"{name} {share:4.0%}" for name, share in zip(self.env.stage_names, shares, strict=True))
            print(f"{minutes:5.1f} min  {decisions:7d} decisions  {words}", flush=True)

    def write(self) -> None:
        """The curve as numbers and as a picture."""
        import matplotlib.pyplot as plt

        self.path.mkdir(parents=True, exist_ok=True)
        with open(self.path / "curve.csv", "w", newline="") as file:
            csv.writer(file).writerows([["minutes", "decisions", *self.env.stage_names], *self.rows])
        table = np.array(self.rows)
        for column, name in enumerate(self.env.stage_names[:3], start=2):
            plt.plot(table[:, 0], 100.0 * table[:, column], label=name)
        plt.xlabel("minutes")
        plt.ylabel("episodes that did the stage, %")
        plt.legend()
        plt.savefig(self.path / "curve.png", dpi=100)


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--minutes", type=float, default=20.0)
parser.add_argument("--decisions", type=int, default=10**9, help="stop after so many, if the minutes allow them")
parser.add_argument("--task", type=int, default=3, help="of LIBERO-Object")
parser.add_argument("--bddl", type=Path, help="a task file of your own, in place of --task")
parser.add_argument("--target", default="bbq_sauce_1", help="the object to grasp: this bottle is the narrowest")
parser.add_argument("--num-envs", type=int, default=16)
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--out", type=Path, default=Path("runs/ppo_grasp"))
options = parser.parse_args()

torch.set_num_threads(1)
settings = {"observe": "state", "action_chunk": HOLD, "horizon": HORIZON}
settings["reward"] = "compiled"  # its stages are reach, grasp, lift, which the curve shows
if options.bddl:
    task = {"env_id": "tgrpo_envs:TGRPO-Custom-v0", "bddl": options.bddl}
else:
    task = {"env_id": "tgrpo_envs:TGRPO-LiberoObject-v0", "task": options.task}
env = Grasp(make_vec(num_envs=options.num_envs, seed=options.seed, **task, **settings), options.target)
model = PPO(
    "MlpPolicy",
    VecNormalize(env, gamma=0.98),
    n_steps=60,
    batch_size=240,
    gamma=0.98,
    ent_coef=0.003,
    policy_kwargs={"net_arch": [128, 128], "log_std_init": -0.5},
    seed=options.seed,
    device="cpu",
)
curve = Curve(env, options.out, options.minutes)
model.learn(total_timesteps=options.decisions, callback=curve)
if curve.rows:
    curve.write()
env.close()
