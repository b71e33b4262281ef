"""Installed packages, from their metadata: versions, extras, and compatibility of torch and torchvision."""

import platform
from functools import cache
from importlib import metadata
from importlib.metadata import PackageNotFoundError, requires

from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import InvalidVersion, Version

from dinocli import __version__

version = cache(metadata.version)
"""Of a distribution; each look reads and parses a file."""

DEVELOPER_EXTRAS = ("dev", "demo", "docs")
"""Extras that no command needs."""

_TORCHVISION_MINOR_OFFSET = 15
"""torchvision 0.15 belongs to torch 2.0, and minor versions advance together: torch 2.14, torchvision 0.29."""


def installed_version(name: str) -> str:
    """Return the version of a distribution; empty if it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def versions_used(*more: str) -> dict[str, str]:
    """Return the versions that a result depends on, for its JSON record."""
    names = ("torch", "timm", *more, "numpy", "pillow")
    return {"dinocli": __version__, "python": platform.python_version(), **{name: version(name) for name in names}}


def extras() -> dict[str, str]:
    """Return the state of each extra: `installed`, or the missing packages and the pip command."""
    problems: dict[str, list[str]] = {}
    for requirement in _requirements("dinocli"):
        marker = str(requirement.marker or "")
        name = marker.rpartition("extra ==")[2].strip(" \"'") if "extra ==" in marker else ""
        if name and name not in DEVELOPER_EXTRAS:
            problems.setdefault(name, []).extend(_problem(requirement))
    return {
        name: f"{', '.join(missing)}: pip install 'dinocli[{name}]'" if missing else "installed"
        for name, missing in sorted(problems.items())
    }


def torch_mismatch() -> str:
    """Return a message with compatible versions if torch and torchvision do not fit, else an empty string.

    A torchvision built for another torch fails with an error about operators that names neither package.
    """
    torch, torchvision = installed_version("torch"), installed_version("torchvision")
    needed = next((requirement for requirement in _requirements("torchvision") if requirement.name == "torch"), None)
    if not (torch and torchvision and needed) or needed.specifier.contains(torch, prereleases=True):
        return ""
    return (
        f"torchvision {torchvision} does not fit torch {torch} (it needs torch{needed.specifier}): "
        f"pip install '{_compatible_torchvision(torch)}', or 'torch{needed.specifier}'"
    )


def _compatible_torchvision(torch: str) -> str:
    try:
        version = Version(torch)
    except InvalidVersion:
        return "torchvision"
    return f"torchvision==0.{version.minor + _TORCHVISION_MINOR_OFFSET}.*" if version.major == 2 else "torchvision"


def _problem(requirement: Requirement) -> list[str]:
    """Return why a requirement is not met; empty if it is."""
    installed = installed_version(requirement.name)
    if not installed:
        return [f"{requirement.name} is missing"]
    fits = requirement.specifier.contains(installed, prereleases=True)
    return [] if fits else [f"{requirement.name} {installed} is installed, {requirement.specifier} is needed"]


def _requirements(name: str) -> list[Requirement]:
    requirements: list[Requirement] = []
    try:
        texts = requires(name) or []
    except PackageNotFoundError:
        return requirements
    for text in texts:
        try:
            requirements.append(Requirement(text))
        except InvalidRequirement:
            continue  # invalid metadata of other packages
    return requirements
