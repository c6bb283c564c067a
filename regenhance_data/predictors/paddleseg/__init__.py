"""Predictors that PaddleSeg trains."""
