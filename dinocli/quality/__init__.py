"""Scores, classifiers and clustering of features: arrays in, numbers out."""
