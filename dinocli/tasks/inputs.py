"""How images are read by commands that take them instead of a feature file."""

from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True)
class ReadOptions:
    """What `embed` would be told; left out is what is stored with the weights, or else the usual.

    Args:
        range: As `--range`.
        channels: Source channels.
        page: Page of multi-page files.
        max_bad: Unreadable images that are accepted.
        workers: Threads that decode.
        batch_size: Images computed at once.
    """

    range: str = ""
    channels: tuple[int, ...] | None = None
    page: int | None = None
    max_bad: str = ""
    workers: int | None = None
    batch_size: int | None = None

    def given(self) -> dict[str, Any]:
        """Return what was not left out, by the names that `EmbedOptions` gives it."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value != getattr(type(self), name)}

    def options(self) -> str:
        """Name what was not left out, as the command line does."""
        return ", ".join(f"--{name.replace('_', '-')}" for name in self.given())
