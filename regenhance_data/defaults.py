"""Defaults that stages, predictors and deployment share."""

MB_SIZE, SCALE, LEVELS = 16, 3, 10
MOST_MB_SIZE = 1024
