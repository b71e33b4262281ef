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
    "groups": ("anomaly",),
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


def parse_query(text: str) -> tuple[float, float] | None:
    """Parse `x,y` of the query patch, as fractions of width and height; None if it is empty.

    Raises:
        UsageError: The query is not two fractions.
    """
    if not text:
        return None
    try:
        x, y = (float(part) for part in text.split(","))
    except ValueError:
        x = y = -1.0
    if not (0 <= x <= 1 and 0 <= y <= 1):
        raise UsageError(f"--query {text!r} is not x,y as shares of width and height; for example 0.5,0.5")
    return x, y
