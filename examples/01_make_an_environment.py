"""Make one LIBERO task with Gymnasium, act at random, and look at what comes back."""

import gymnasium as gym

env = gym.make("tgrpo_envs:TGRPO-LiberoObject-v0", task="pick_up_the_butter_and_place_it_in_the_basket")
observation, info = env.reset(seed=0)
print("instruction:", info["instruction"])
for name, value in observation.items():
    print(f"observation[{name!r}]: {value.dtype} {value.shape}")

for _ in range(20):
    observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
print(f"after {info['control_steps']} control steps: progress {info['progress']:.3f}, stage {info['stage']}")
env.close()
