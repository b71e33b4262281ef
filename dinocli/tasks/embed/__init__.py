"""Images in, one row of features each out: the library calls behind `dinocli embed`."""

from dinocli.tasks.embed.job import EmbedJob, EmbedOutcome
from dinocli.tasks.embed.merge import merge
from dinocli.tasks.embed.once import features_of
from dinocli.tasks.embed.plan import foresee
from dinocli.tasks.embed.run import embed
from dinocli.tasks.embed.together import embed_together

__all__ = ["EmbedJob", "EmbedOutcome", "embed", "embed_together", "features_of", "foresee", "merge"]
