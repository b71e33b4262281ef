"""Wording of messages."""


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: ``1 image``, ``2,000 images``."""
    return f"{number:,} {noun}{'s' * (number != 1)}"
