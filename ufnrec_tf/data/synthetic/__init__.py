"""Planted data: logs drawn from known tastes, so that false negatives are known exactly."""
