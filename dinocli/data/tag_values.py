"""Values of image tags that some software writes in another way than the standard says."""

from collections.abc import Sequence
from typing import Any

from dinocli.data.pixels import Pixels


def is_8_bit_map(colours: Sequence[int] | Pixels) -> bool:
    """Return whether the values of a ColorMap tag are of 8 bits instead of 16, as some software writes them."""
    largest = max(colours, default=0) if isinstance(colours, Sequence) else int(colours.max(initial=0))
    return 0 < largest < 256


def valid_orientation(value: Any) -> int:
    """Return the value of an Orientation tag, which some software writes with another type; 1 if it is none of 1 to 8.

    Args:
        value: A number, its text, or one byte; None without a tag.
    """
    try:
        number = float(value[0] if isinstance(value, bytes) and len(value) == 1 else value)
    except (TypeError, ValueError, ArithmeticError):
        return 1
    return int(number) if number in range(1, 9) else 1
