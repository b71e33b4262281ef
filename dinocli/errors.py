"""The errors a user can meet. Each message is one line: what happened, with the value, then what to do.

Exit codes are the command line's business (`dinocli.cli.app`); a library user catches `DinocliError`.
"""


class DinocliError(Exception):
    """Anything that dinocli stops for on purpose."""


class UsageError(DinocliError):
    """Options that contradict each other, or an output that is already there."""


class RecipeError(UsageError):
    """A recipe that cannot be found, read or believed."""


class DataError(DinocliError):
    """No image, or more unreadable ones than allowed."""


class WeightsError(DinocliError):
    """Weights, a checkpoint or a feature file that cannot be used, or an optional package that is not installed."""


class TrainingStopped(DinocliError):
    """The guard ended the run: values that are not finite, or a collapse."""


class Interrupted(DinocliError):
    """A signal ended the run, after a checkpoint.

    Args:
        message: What was saved, and how to continue.
        signal: Number of the signal.
    """

    def __init__(self, message: str, signal: int) -> None:
        super().__init__(message)
        self.signal = signal
