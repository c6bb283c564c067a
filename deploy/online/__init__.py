"""Predictors over live video."""
