"""Measured against labels: tasks, predictors, scorers and reports; every figure with its interval and its baselines."""
