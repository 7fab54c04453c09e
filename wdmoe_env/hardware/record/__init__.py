"""Recording on a device of one's own: expert latencies, and what sensors say meanwhile."""
