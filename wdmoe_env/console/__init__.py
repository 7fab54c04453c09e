"""The console: progress bars, and stopping when asked. Needs rich (extras `train` and `llm`)."""
