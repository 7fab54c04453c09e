"""What an evaluation shows and writes: tables, plots, the report, `summary.json`."""
