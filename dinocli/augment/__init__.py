"""Augmentation on the device: antialiased crop, Kornia pipelines, multi-crop."""
