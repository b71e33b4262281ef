"""Names of the kinds of features (`dinocli.models.tokens`); imports no torch, so that options are checked at once."""

POOLED_RARE = "pooled+rare"

KINDS = ("pooled", "cls", "mean", "cls+mean", "gem", "patch", "rare", POOLED_RARE)

FITTED = ("rare", POOLED_RARE)
"""Kinds that must be fitted to a folder first (`dinocli.engine.rare_features`)."""

AUTO = "auto"
"""Choose the kind by the architecture and the number of images."""
