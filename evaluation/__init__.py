"""Evaluation: paired runs on held-out seeds, statistics, plots and a report."""
