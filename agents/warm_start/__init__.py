"""Warm start: imitate the optimizer, then climb the gradient of the reward for the split."""
