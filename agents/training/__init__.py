"""Training: one run, several side by side, validation, and the tell-tale signs of divergence."""
