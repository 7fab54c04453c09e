"""Measured latencies: rows and tables of them, checks, import, the fit of rooflines, replay."""
