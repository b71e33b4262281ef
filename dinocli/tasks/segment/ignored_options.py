"""Options of `segment` that the chosen method or output would ignore are refused, before anything is loaded."""

from dataclasses import asdict
from typing import TYPE_CHECKING

from dinocli.errors import UsageError

if TYPE_CHECKING:
    from dinocli.tasks.segment.segment_options import SegmentOptions

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


def check_method(options: "SegmentOptions") -> None:
    """Raise `UsageError` for options that the method ignores."""
    outputs = options.outputs
    values = {**options.method_options, "query": options.query, "maps": outputs.maps, "reference": options.reference}
    given = [name for name, value in values.items() if value]
    if options.propagate and (options.method != "auto" or given or options.groups):
        method = ["--method"] * (options.method != "auto") + [f"--{name}" for name in given]
        raise UsageError(f"--propagate is a method of its own: leave {', '.join(method) or '--groups'} out")
    for name in given:
        methods = METHODS_OF_OPTION.get(name, (options.method,))
        belongs = f"--{name} belongs to --method {' or '.join(methods)}"
        if options.method == "auto" and not {"auto", *AUTO_METHODS} & set(methods):
            raise UsageError(f"{belongs}, which auto never takes: name it")
        if options.method != "auto" and options.method not in methods:
            raise UsageError(f"{belongs}, not to {options.method}: leave it out")


def check_answers(options: "SegmentOptions") -> None:
    """Raise `UsageError` for options that only an output folder has; without one, answers go to stdout."""
    given = [name for name in ("truth", "save_detector", "resume") if getattr(options, name)]
    given += [name for name, value in asdict(options.outputs).items() if value]
    if given:
        words = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise UsageError(f"{words}: answers on stdout have no such files; name a folder with --out")
