"""SmolVLA: LeRobot's own classes, with a sampler that learns (`policy.flow`)."""
