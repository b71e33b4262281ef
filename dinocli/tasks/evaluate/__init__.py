"""Scores of features with labels, without labels, and against a baseline; start at `evaluate.evaluate`."""
