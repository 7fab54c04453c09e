"""The small mixture-of-experts language model: its corpus, training, and what it is measured against."""
