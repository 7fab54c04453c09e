"""Recorded radio logs: traces, import, replay, and a generator of made-up ones."""
