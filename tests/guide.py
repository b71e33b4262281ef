"""Names of files in docs/guide.md."""

import re
from pathlib import Path

GUIDE = Path(__file__).resolve().parents[1] / "docs" / "guide.md"


def names_in_guide() -> set[str]:
    """Return the words of the guide's inline code and of its listings; folders without their slash."""
    text = GUIDE.read_text(encoding="utf-8")
    listings = re.findall(r"(?ms)^```\w*\n(.*?)^```", text)
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"(?ms)^```.*?^```", "", text))
    return {word.strip(":;,").rstrip("/") for part in (*listings, *spans) for word in part.split()}


def check_in_guide(folder: Path) -> None:
    """Assert that the guide names every file and folder of a result; it is in the repository alone."""
    if GUIDE.is_file():
        names = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
        assert names
        assert names <= names_in_guide(), names - names_in_guide()
