"""Ranking, detection and segmentation metrics: pure functions on arrays."""
