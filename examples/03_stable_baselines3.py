"""The same environment under an existing library: a few PPO steps of Stable-Baselines3."""

import gymnasium as gym
from stable_baselines3 import PPO

env = gym.make("tgrpo_envs:TGRPO-LiberoObject-v0", image_size=64, horizon=64)
model = PPO("MultiInputPolicy", env, n_steps=64, batch_size=32, n_epochs=1, verbose=1)
model.learn(total_timesteps=64)
env.close()
