"""Estimates from episodes: bootstrap, intervals, improvement, bounds."""
