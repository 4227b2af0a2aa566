"""Read the stage reward of a task as data, then let the scripted expert earn it step by step."""

import gymnasium as gym

from tgrpo_envs.expert import ScriptedExpert

envs = gym.make_vec("tgrpo_envs:TGRPO-LiberoObject-v0", num_envs=1, detail="off", autoreset_mode="Disabled")
envs.reset(seed=0)
episodes = envs.unwrapped.episodes
for stage in episodes.spec.stages:
    print(f"{stage.id}: effort {stage.effort}, after {list(stage.after)}")

simulator, scene = episodes.simulator, episodes.scene
expert = ScriptedExpert(scene.layout, scene.task.goal, num_envs=1)
expert.reset(simulator.snapshot, episodes.all_members)
total, stage = 0.0, -1
while True:
    _, rewards, terminated, truncated, infos = envs.step(expert.act(simulator.snapshot))
    total += rewards[0]
    if infos["stage"][0] != stage or terminated[0]:
        stage = infos["stage"][0]
        print(f"step {infos['control_steps'][0]:3d}: stage {stage}, return so far {total:.3f}")
    if terminated[0] or truncated[0]:
        break
print("solved" if terminated[0] else "not solved")
envs.close()
