"""Masks from features, without a label: one file a method, the geometry of patches, and how masks are written."""
