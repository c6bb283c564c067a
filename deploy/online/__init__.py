"""Predictors over videos."""
