"""Stable-Baselines3: networks, policies, the vectorised environment, and a learner's whole state."""
