"""What is installed beside dinocli, by the packages' own metadata: extras, and whether torch and torchvision fit."""

import platform
from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import InvalidVersion, Version

from dinocli import __version__

NOT_FOR_USERS = ("dev", "demo")
"""Extras that no command needs."""

_TORCHVISION_AHEAD = 15
"""torch 2.0 came with torchvision 0.15, and both count on by one: torch 2.14 and torchvision 0.29."""


def installed_version(name: str) -> str:
    """Return the version of a distribution, or an empty string."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def versions_used(*more: str) -> dict[str, str]:
    """Return the versions that a result depends on, as its description stores them."""
    names = ("torch", "timm", *more, "numpy", "pillow")
    return {"dinocli": __version__, "python": platform.python_version(), **{name: version(name) for name in names}}


def extras() -> dict[str, str]:
    """Return each extra of dinocli with its state: `installed`, or what is missing and the command that helps."""
    found: dict[str, list[str]] = {}
    for requirement in _requirements("dinocli"):
        marker = str(requirement.marker or "")
        name = marker.rpartition("extra ==")[2].strip(" \"'") if "extra ==" in marker else ""
        if name and name not in NOT_FOR_USERS:
            found.setdefault(name, []).extend(_problem(requirement))
    return {
        name: f"{', '.join(missing)}: pip install 'dinocli[{name}]'" if missing else "installed"
        for name, missing in sorted(found.items())
    }


def torch_mismatch() -> str:
    """Say which torch and torchvision are installed and what would fit; nothing where they fit.

    A torchvision that was built for another torch fails with an error about operators that names neither.
    """
    torch, torchvision = installed_version("torch"), installed_version("torchvision")
    needed = next((wanted for wanted in _requirements("torchvision") if wanted.name == "torch"), None)
    if not (torch and torchvision and needed) or needed.specifier.contains(torch, prereleases=True):
        return ""
    return (
        f"torchvision {torchvision} does not fit torch {torch} (it needs torch{needed.specifier}): "
        f"pip install '{_fitting(torch)}', or 'torch{needed.specifier}'"
    )


def _fitting(torch: str) -> str:
    try:
        found = Version(torch)
    except InvalidVersion:
        return "torchvision"
    return f"torchvision==0.{found.minor + _TORCHVISION_AHEAD}.*" if found.major == 2 else "torchvision"


def _problem(requirement: Requirement) -> list[str]:
    """Return nothing where a requirement is met, else what is wrong."""
    found = installed_version(requirement.name)
    if not found:
        return [f"{requirement.name} is missing"]
    fits = requirement.specifier.contains(found, prereleases=True)
    return [] if fits else [f"{requirement.name} {found} is installed, {requirement.specifier} is needed"]


def _requirements(name: str) -> list[Requirement]:
    found: list[Requirement] = []
    try:
        texts = requires(name) or []
    except PackageNotFoundError:
        return found
    for text in texts:
        try:
            found.append(Requirement(text))
        except InvalidRequirement:
            continue  # other people's metadata
    return found
