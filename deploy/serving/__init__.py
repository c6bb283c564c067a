"""Predictors on a server."""
