"""Other people's conventions: LIBERO's observations, policy servers, reinforcement learning libraries."""
