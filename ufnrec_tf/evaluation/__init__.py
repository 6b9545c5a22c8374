"""Ranks in the full catalogue, metrics, statistics, baselines, and what the memory found."""
