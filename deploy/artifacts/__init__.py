"""Predictor files, readable without an engine."""
