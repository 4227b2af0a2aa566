"""Behaviour cloning: demonstration files, the data set, and the policy a run starts from."""
