"""Region importance predictors: training and prediction."""
