"""Images in, one row of features each out: the library calls behind `dinocli embed`."""

from dinocli.tasks.embed.job import EmbedJob, EmbedOutcome
from dinocli.tasks.embed.once import features_of
from dinocli.tasks.embed.run import embed

__all__ = ["EmbedJob", "EmbedOutcome", "embed", "features_of"]
