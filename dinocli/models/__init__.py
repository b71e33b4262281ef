"""Backbones from timm, weights from anywhere, the DINO head, and the one feature extractor."""
