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


class OutOfMemory(DinocliError):
    """There was not enough memory for a step; the message names a batch size that would fit."""


class Interrupted(DinocliError):
    """A signal ended the run, after a checkpoint.

    Args:
        message: What was saved, and how to continue.
        signal: Number of the signal.
    """

    def __init__(self, message: str, signal: int) -> None:
        super().__init__(message)
        self.signal = signal


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether an error means that memory ran out; torch's allocator of the CPU has no class of its own for that."""
    words = "can't allocate memory" in str(error) or "not enough memory" in str(error)
    return (
        isinstance(error, MemoryError | OutOfMemory)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and words)
    )
