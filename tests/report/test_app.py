import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest

from dinocli.report.app import app_page, json_block

BAD = "</script><script>alert(1)</script><!--<img src=x onerror=alert(1)>&amp;\u2028\u2029\x00"


class Blocks(HTMLParser):
    """The text of each script and style, and the policy."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.inside: tuple[str, dict[str, str | None]] | None = None
        self.blocks: list[tuple[str, dict[str, str | None], str]] = []
        self.policy = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if values.get("http-equiv") == "Content-Security-Policy":
            self.policy = values["content"] or ""
        self.inside = (tag, values) if tag in ("script", "style") else None

    def handle_endtag(self, tag: str) -> None:
        self.inside = None

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.blocks.append((*self.inside, data))


def page(data: dict[str, object]) -> str:
    return app_page(BAD, "<p>body</p>", data, styles=["page.css", "web/app.css"], scripts=["web/dom.js", "web/rows.js"])


def test_data_comes_back_as_it_went_in_and_cannot_end_its_block() -> None:
    data: dict[str, object] = {BAD: [BAD, 1.5, None, ["ü", -3]]}
    block = json_block(data)
    assert json.loads(block) == data
    assert block.isascii()
    assert not set("<>&") & set(block)
    found = Blocks(page(data))
    (inside,) = [text for tag, values, text in found.blocks if values.get("type") == "application/json"]
    assert json.loads(inside) == data
    assert [tag for tag, _, _ in found.blocks] == ["style", "script", "script"]


def test_nan_is_rejected() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_block({"a": float("nan")})


def test_the_policy_allows_this_script_and_this_style_alone() -> None:
    found = Blocks(page({}))
    rules = dict(rule.strip().split(" ", 1) for rule in found.policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["base-uri"] == rules["form-action"] == "'none'"
    assert set(rules["img-src"].split()) == {"data:", "'self'", "file:"}
    for kind in ("style", "script"):
        (text,) = [text for tag, values, text in found.blocks if tag == kind and "type" not in values]
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert rules[f"{kind}-src"] == f"'sha256-{digest}'"
    assert not re.search(r"unsafe|https?:|\*", found.policy)
