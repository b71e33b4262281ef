"""Exceptions of dinocli. Each message is one line: what happened, with the value, then what to do.

`dinocli.cli.app` maps them to exit codes; a library user catches `DinocliError`.
"""


class DinocliError(Exception):
    """Base class of the errors that dinocli raises on purpose."""


class UsageError(DinocliError):
    """Options contradict each other, or the output already exists."""


class RecipeError(UsageError):
    """A recipe is missing, unreadable or invalid."""


class DataError(DinocliError):
    """No image, an unreadable one, more of them than `--max-bad` allows, or labels or other data that are unusable."""


class WeightsError(DinocliError):
    """Weights, a feature file, a run or a detector is missing or unusable, or an optional package is not installed."""


class TrainingStopped(DinocliError):
    """The guard stopped the run: non-finite values or collapse."""


class OutOfMemory(DinocliError):
    """Memory ran out in a training step; the message names a batch size that fits."""


class Interrupted(DinocliError):
    """A signal stopped the run after a checkpoint was saved.

    Args:
        message: What was saved, and how to resume.
        signal: Signal number.
    """

    def __init__(self, message: str, signal: int) -> None:
        super().__init__(message)
        self.signal = signal


_OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "CUDA error: out of memory", "STATUS_ALLOC_FAILED")


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means out of memory; torch raises a plain `RuntimeError` on a CPU and from libraries."""
    words = any(word in str(error) for word in _OUT_OF_MEMORY)
    return (
        isinstance(error, MemoryError | OutOfMemory)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and words)
    )


def one_line(error: BaseException) -> str:
    """Return the reason of another library's error in one line: the system's, its message, or the name of its class.

    Reasons of the system are in lower case and without the path, which the sentence around them names.
    """
    system = getattr(error, "strerror", None)  # also of PyAV's errors, which are not all an `OSError`
    return system.lower() if system else " ".join(str(error).split()) or type(error).__name__


def first_line(error: BaseException) -> str:
    """Return the first line of the message of another library's error, or the name of its class.

    For libraries whose messages fill pages, such as torch; `one_line` is for all others.
    """
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, for messages: ``1 image``, ``2,000 images``."""
    return f"{number:,} {noun}{'s' * (number != 1)}"
