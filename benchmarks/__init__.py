"""Scripts that measure: each prints a table, or with `--json` one object a row."""
