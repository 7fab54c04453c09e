"""Real mixture-of-experts models (extra `llm`). Importing this package loads neither torch nor transformers."""
