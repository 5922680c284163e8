"""Scores, confidence intervals, thresholds, tables and plots of trained networks."""
