"""Trained policies: load, keep, and ship them with the project."""
