"""Search for better hyperparameters: `python -m agents.tune --help`."""
