"""Names of the kinds of features (`dinocli.models.tokens`); imports no torch, so that options are checked at once."""

KINDS = ("pooled", "cls", "mean", "cls+mean", "gem", "patch", "rare", "pooled+rare")

FITTED = ("rare", "pooled+rare")
"""Kinds that must be fitted to a folder first (`dinocli.engine.rare_features`)."""

AUTO = "auto"
"""Choose the kind by the architecture and the number of images."""
