"""Damaged copies of a file, the same ones for the same seed: in its bytes, and in the values of its JSON."""

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

POISON: tuple[Any, ...] = (
    *(None, True, False, -1, 0, 1.5, 10**30, -(10**30), 2**63, 1e308, float("nan"), float("inf")),
    *("", "abc", "0", "a\0b", "\ud800", "../../x", "x" * 100_000, "cls", "auto"),
    *([], {}, [None], [[1, 2], [3]], {"a": {"b": 1}}, [0] * 10_000),
)
"""Values that nobody expects."""

WHOLE = (
    *(
        b"",
        b"\n",
        b"\0" * 1000,
        b"null",
        b"1",
        b'"x"',
        b"[]",
        b"{}",
        b"[{}]",
        b"NaN",
        b"\xff\xfe\x00",
        b"\xef\xbb\xbf{}",
    ),
    *(b"[" * 100_000, b'{"a":' * 100_000, b"1" * 5_000, b'{"n": ' + b"9" * 5_000 + b"}", b"<html>404</html>"),
)
"""Whole files that nobody expects."""


def of_bytes(data: bytes, count: int, seed: int) -> Iterator[bytes]:
    """Yield damaged copies: bits turned, cut off, cut out, doubled, overwritten with zeros or noise."""
    draw = random.Random(seed)
    for _ in range(count):
        left, right = sorted(draw.randrange(len(data) + 1) for _ in range(2))
        right = min(right, left + draw.choice((1, 8, 64, len(data))))
        part = data[left:right]
        yield draw.choice(
            (
                data[:left],
                data[:left] + data[right:],
                data[:right] + part + data[right:],
                data[:left] + bytes(len(part)) + data[right:],
                data[:left] + draw.randbytes(min(len(part), 64)) + data[left + min(len(part), 64) :],
                _turned(data, draw),
            )
        )


def of_json(data: bytes, count: int, seed: int) -> Iterator[bytes]:
    """Yield copies of a JSON object with one or two values replaced, removed, or doubled under another key."""
    draw, whole = random.Random(seed), json.loads(data)
    for _ in range(count):
        changed = copy.deepcopy(whole)
        for _ in range(draw.choice((1, 1, 2))):
            holder, key = draw.choice([*_places(changed)])
            action = draw.random()
            if action < 0.15 and isinstance(holder, dict):
                holder.pop(key, None)
            elif action < 0.2 and isinstance(holder, list):
                holder.append(draw.choice(POISON))
            elif isinstance(holder, dict) or key < len(holder):
                holder[key] = copy.deepcopy(draw.choice(POISON))
        yield json.dumps(changed).encode()


def _turned(data: bytes, draw: random.Random) -> bytes:
    turned = bytearray(data or b"\0")
    for _ in range(draw.randint(1, 8)):
        turned[draw.randrange(len(turned))] ^= 1 << draw.randrange(8)
    return bytes(turned)


def _places(data: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every place of an object: what holds it, and its key."""
    for key, value in data.items() if isinstance(data, dict) else enumerate(data):
        yield data, key
        if isinstance(value, dict | list):
            yield from _places(value)
