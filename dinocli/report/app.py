"""Frame of the interactive pages: one HTML file that contains its style, scripts and data.

A Content-Security-Policy allows this script and style alone (by hash), and pictures inside the page or beside it. User
data is passed as JSON in a block that browsers do not execute, and the scripts insert it as text, never as HTML.
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
    """Build an interactive page.

    Args:
        title: Title of the browser tab.
        body: HTML with escaped strings.
        data: JSON-like data without NaN, which the scripts read from the element `data`.
        styles: Style sheets of this package, in order.
        scripts: Scripts of this package, in order; they share one scope.

    Returns:
        A complete HTML document.
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
    """Return data as ASCII JSON in which no string can end the surrounding `<script>` block."""
    return json.dumps(data, separators=(",", ":"), allow_nan=False).translate(_ESCAPES)


def template(name: str, **parts: str) -> str:
    """Fill the placeholders of an HTML file of this package with HTML whose strings are escaped."""
    return _file(name).format(**parts)


def _joined(names: Sequence[str]) -> str:
    return "".join(map(_file, names))


def _file(name: str) -> str:
    return files("dinocli.report").joinpath(name).read_text("utf-8")


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}"
