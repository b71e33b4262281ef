"""Segmentation without labels: one file per method, patch geometry, and writers of masks and annotations."""
