"""Deployment of predictors: export, backends, videos, benchmarks, serving."""
