"""timm backbones, weight loading, the DINO head and feature extraction."""
