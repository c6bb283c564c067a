"""Predictor files, read without an engine."""
