"""What is trained and how: the plan, hyperparameters, memory, and which scenarios go together."""
