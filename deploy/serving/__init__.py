"""Predictors for a server."""
