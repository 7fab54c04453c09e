"""The system model: pure functions on batched arrays, without state and without hidden randomness."""

from wdmoe_env.system import bandwidth, channel, compute, latency, metrics, selection

__all__ = ["bandwidth", "channel", "compute", "latency", "metrics", "selection"]
