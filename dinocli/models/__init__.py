"""timm backbones, weight loading, the DINO head and feature extraction."""

from dinocli.models.deferred_dynamo import defer_dynamo

defer_dynamo()
