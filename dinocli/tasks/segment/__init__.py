"""Masks from features, without a label: one file a method."""
