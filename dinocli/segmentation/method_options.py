"""Options that only some methods of `segment` take, checked before torch or a method is loaded."""

from collections.abc import Iterable

from dinocli.errors import UsageError

AUTO_METHODS = ("tokencut", "anomaly")
"""Methods that `auto` chooses from."""

METHODS_OF_OPTION = {
    "objects": ("tokencut",),
    "affinity_threshold": ("tokencut",),
    "segments": ("kmeans",),
    "head": ("attention",),
    "mass": ("attention",),
    "query": ("attention",),
    "maps": ("attention", "pca"),
    "reference": ("anomaly",),
    "threshold": ("anomaly",),
    "features": ("anomaly",),
}
"""Options that only some methods use; every other method would ignore them."""


def check_method(method: str, given: Iterable[str]) -> None:
    """Raise `UsageError` for options that the method would ignore.

    Args:
        method: Name of the method, or `auto` before it is resolved.
        given: Names of the given options of methods.
    """
    for name in given:
        methods = METHODS_OF_OPTION.get(name)
        if methods is None:
            raise UsageError(f"no method has the option {name!r}; there are {', '.join(METHODS_OF_OPTION)}")
        belongs = f"--{name} belongs to --method {' or '.join(methods)}"
        if method == "auto" and not set(AUTO_METHODS) & set(methods):
            raise UsageError(f"{belongs}, which auto never takes: name it")
        if method != "auto" and method not in methods:
            raise UsageError(f"{belongs}, not to {method}: leave it out")
