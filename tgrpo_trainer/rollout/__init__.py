"""Environments and policy together: groups of trajectories."""
