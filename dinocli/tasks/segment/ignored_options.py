"""Options of `segment` that the chosen method or output would ignore are refused, before anything is loaded."""

from collections.abc import Sequence

from dinocli.errors import UsageError

AUTO_METHODS = ("tokencut", "anomaly")
"""Methods that `auto` chooses from."""

METHODS_OF_OPTION = {
    "objects": ("tokencut",),
    "segments": ("kmeans",),
    "head": ("attention",),
    "query": ("attention",),
    "maps": ("attention", "pca"),
    "reference": ("anomaly",),
    "threshold": ("anomaly",),
    "features": ("anomaly",),
}
"""Options that only some methods use; every other method would ignore them."""


def check_method(method: str, given: Sequence[str], *, propagates: bool, groups: bool) -> None:
    """Raise `UsageError` for options that the method ignores.

    Args:
        method: Name of the method, or `auto`.
        given: Names of the given options that only some methods use.
        propagates: `--propagate` was given, which is a method of its own.
        groups: `--groups` was given.
    """
    if propagates and (method != "auto" or given or groups):
        others = ["--method"] * (method != "auto") + [f"--{name}" for name in given]
        raise UsageError(f"--propagate is a method of its own: leave {', '.join(others) or '--groups'} out")
    for name in given:
        methods = METHODS_OF_OPTION.get(name, (method,))
        belongs = f"--{name} belongs to --method {' or '.join(methods)}"
        if method == "auto" and not {"auto", *AUTO_METHODS} & set(methods):
            raise UsageError(f"{belongs}, which auto never takes: name it")
        if method != "auto" and method not in methods:
            raise UsageError(f"{belongs}, not to {method}: leave it out")


def check_answers(given: Sequence[str]) -> None:
    """Raise `UsageError` for options, by name, that only an output folder has; without one, answers go to stdout."""
    if given:
        words = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise UsageError(f"{words}: answers on stdout have no such files; name a folder with --out")
