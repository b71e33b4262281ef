"""Features in, groups out: the library call behind `dinocli cluster`."""

from dinocli.tasks.cluster.forecast import Forecast, foresee
from dinocli.tasks.cluster.job import ClusterJob, ClusterOutcome
from dinocli.tasks.cluster.run import cluster

__all__ = ["ClusterJob", "ClusterOutcome", "Forecast", "cluster", "foresee"]
