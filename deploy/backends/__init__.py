"""The engines that run a predictor: one table, and a module for each engine."""
