"""Start eight members in two groups: inside a group every member begins in exactly the same state, as TGRPO needs."""

import gymnasium as gym
import numpy as np

envs = gym.make_vec("tgrpo_envs:TGRPO-LiberoObject-v0", num_envs=8, detail="off", autoreset_mode="Disabled")
observations, _ = envs.reset(seed=0, options={"group_size": 4})
proprio = observations["proprio"]
print("members of a group start alike:", bool(np.array_equal(proprio[0], proprio[3])))

returns = np.zeros(8)
for _ in range(40):
    observations, rewards, terminated, truncated, infos = envs.step(envs.action_space.sample())
    returns += rewards
print("returns by group:\n", returns.reshape(2, 4).round(3))
print("stages:", envs.get_attr("stage_names")[0])
envs.close()
