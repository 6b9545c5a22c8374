"""Evaluation: ranks in the full catalogue, metrics, statistics, baselines and suspects."""
