"""The table of exit codes, and the line that an error becomes."""

import errno
import sys

from dinocli.cli.streams import ClosedOutputError
from dinocli.errors import (
    DataError,
    DinocliError,
    Interrupted,
    TrainingStopped,
    UsageError,
    WeightsError,
    is_out_of_memory,
)

EXIT_BUG, EXIT_CANNOT_WRITE = 1, 6
EXIT_CODES: dict[type[DinocliError], int] = {UsageError: 2, DataError: 3, WeightsError: 4, TrainingStopped: 5}

OS_ERROR_ADVICE = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EFBIG: "raise the limit of file sizes (ulimit -f)",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
}

MEMORY_ADVICE = {
    **dict.fromkeys(("embed", "classify", "evaluate"), "use a smaller --batch-size"),
    **dict.fromkeys(
        ("finetune-ssl", "pretrain"),
        "use a smaller --batch-size, smaller views (--set views.global_size) or a smaller --model",
    ),
    "cluster": "group fewer images (--dry-run prints the memory), or embed them first with a smaller --batch-size",
    "segment": "use a smaller --size, or --tile",
}
"""Way out of memory by command; the others have none but to free some."""


def exit_code(error: BaseException) -> int:
    """Return the exit code of an error."""
    if isinstance(error, Interrupted):
        return 128 + error.signal
    for kind, code in EXIT_CODES.items():
        if isinstance(error, kind):
            return code
    if isinstance(error, OSError) or is_out_of_memory(error):
        return EXIT_CANNOT_WRITE
    return EXIT_BUG


def error_message(error: BaseException) -> str:
    """Return one line: what happened and what to do."""
    text = " ".join(str(error).split())
    if isinstance(error, DinocliError | ClosedOutputError):
        return text
    if isinstance(error, OSError):
        has_out = not {"--out", "-o"}.isdisjoint(word.partition("=")[0] for word in sys.argv)
        elsewhere = "choose another place with --out" if has_out else "choose another place"
        return f"{text}; {OS_ERROR_ADVICE.get(error.errno or 0, elsewhere)}"
    if exit_code(error) == EXIT_CANNOT_WRITE:
        command = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
        return f"out of memory; {MEMORY_ADVICE.get(command, 'free some memory')}"
    return f"internal error: {type(error).__name__}: {text}; run it again with --debug and report what it prints"


def with_torch_mismatch(error: Exception) -> Exception:
    """Replace an apparent bug by a mismatch of torch and torchvision, if there is one: it fails in many places."""
    if exit_code(error) != EXIT_BUG:
        return error
    from dinocli.config.installed_packages import torch_mismatch

    mismatch = torch_mismatch()
    return WeightsError(mismatch) if mismatch else error
