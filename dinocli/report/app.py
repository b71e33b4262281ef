"""The frame of an interactive page: one HTML file with its style, its script and its data inside.

The page tells the browser to run this script alone (by its hash), to take this style alone, and to fetch nothing but
pictures that it carries or that lie beside it. What comes from the user's files crosses as JSON in a block that no
browser executes, and the scripts set it as text, never as HTML.
"""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files

from dinocli.report.text import html_text

_ESCAPES = {ord(c): f"\\u{ord(c):04x}" for c in "<>&"}


def app_page(
    title: str, body: str, data: Mapping[str, object], *, styles: Sequence[str], scripts: Sequence[str]
) -> str:
    """Put an interactive page together.

    Args:
        title: Of the browser's tab.
        body: HTML, every string in it escaped.
        data: What the scripts find in the element `data`; JSON without NaN.
        styles: Style sheets of this package, joined in this order.
        scripts: Names of scripts of this package; they see each other's names.

    Returns:
        A whole HTML document.
    """
    style, script = _joined(styles), f'"use strict";\n{_joined(scripts)}'
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; "
        "img-src data: 'self' file:; base-uri 'none'; form-action 'none'"
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html_text(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n{body}\n"
        f'<script type="application/json" id="data">{json_block(data)}</script>\n'
        f"<script>{script}</script>\n</body>\n</html>\n"
    )


def json_block(data: Mapping[str, object]) -> str:
    """Write data as JSON that cannot end the block it stands in, whatever the strings hold; ASCII alone."""
    return json.dumps(data, separators=(",", ":"), allow_nan=False).translate(_ESCAPES)


def template(name: str, **parts: str) -> str:
    """Fill the gaps of an HTML file of this package; the parts are HTML, every string in them escaped."""
    return _file(name).format(**parts)


def _joined(names: Sequence[str]) -> str:
    return "".join(map(_file, names))


def _file(name: str) -> str:
    return files("dinocli.report").joinpath(name).read_text("utf-8")


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}"
