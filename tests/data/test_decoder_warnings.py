"""Warnings of all decoders: one summary line, and nothing else on stderr."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from dinocli.data.decode import read_native
from dinocli.data.decoder_warnings import DecoderWarnings
from dinocli.data.read import Reader
from dinocli.errors import DataError
from tests.data.files import noise, save, settings
from tests.data.hostile import mutants, tiff, tiff_page


def odd_files(folder: Path) -> list[Path]:
    """Write files for which PIL warns, tifffile logs and libtiff prints messages."""
    Image.fromarray(noise(64, 64, 3)).save(folder / "lzw.tif", compression="tiff_lzw")
    content = bytearray((folder / "lzw.tif").read_bytes())
    content[60:80] = bytes(20)
    (folder / "lzw.tif").write_bytes(content)
    (folder / "tag.tif").write_bytes(tiff(*tiff_page(4, 4), (65000, 16, 2**32 - 1, 8)))
    Image.fromarray(noise(16, 16, 3)).save(folder / "exif.jpg", exif=b"Exif\0\0II*\0\x08\0\0\0\x05\0")
    return sorted(folder.iterdir())


def test_decoder_warnings_are_summarised_in_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with DecoderWarnings() as heard:
        for path in odd_files(tmp_path):
            try:
                read_native(path)
            except DataError:
                continue
    assert set(heard.first) == {str(tmp_path / name) for name in ("lzw.tif", "tag.tif", "exif.jpg")}
    assert heard.count >= 3
    (summary,) = heard.summaries()
    assert summary.startswith(f"{heard.count} decoder warnings about 3 files; the first: ")
    assert "\n" not in summary
    assert capfd.readouterr().err == ""


def test_no_warning_gives_no_line_and_other_warnings_are_shown(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", noise(4, 4))

    def work() -> list[str]:
        with DecoderWarnings() as heard:
            read_native(tmp_path / "a.tif")
            warnings.warn("of another library", stacklevel=1)
        return heard.summaries()

    with pytest.warns(UserWarning, match="of another library"):
        assert work() == []


def test_images_whose_colour_is_lost_are_counted_and_named(tmp_path: Path) -> None:
    """The sampled images were grey: what they did not show is said at the end."""
    reader = Reader(settings(grey=True), 32)
    for name, channels in (("a", 1), ("b", 3), ("c", 3)):
        save(tmp_path / f"{name}.png", noise(20, 20, channels))
    save(tmp_path / "d.png", np.repeat(noise(20, 20)[..., None], 3, -1))
    hidden = np.dstack([np.repeat(noise(20, 20)[..., None], 3, -1), np.full((20, 20), 255, np.uint8)])
    hidden[:10, :, 0], hidden[:10, :, 3] = 250, 0
    Image.fromarray(hidden).save(tmp_path / "e.png")  # its colour is transparent
    with DecoderWarnings() as heard:
        for name in "abbcde":
            reader.whole(str(tmp_path / f"{name}.png"))
    (line,) = heard.summaries()
    assert line.startswith(f"2 files with colour, such as {tmp_path / 'b.png'}, read as grey")


def test_gdal_nodata_warning_is_not_counted(tmp_path: Path) -> None:
    pixels = np.full((4, 4), -3.4028235e38, np.float32)
    tifffile.imwrite(tmp_path / "a.tif", pixels, extratags=[(42113, "s", 0, "-3.40282346638529e+38", True)])
    with DecoderWarnings() as heard:
        read_native(tmp_path / "a.tif")
    assert heard.summaries() == []


def test_damaged_files_write_nothing_to_stderr(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.tif"
    with DecoderWarnings() as heard:
        for kind in ("tiff_lzw", "jpeg", "packbits"):
            Image.fromarray(noise(32, 32, 3)).save(path, compression=kind)
            for content in mutants(path.read_bytes(), 30, seed=3):
                path.write_bytes(content)
                try:
                    read_native(path)
                except DataError:
                    continue
    assert heard.count > 10
    assert capfd.readouterr().err == ""


def test_command_prints_one_line_for_all_warnings(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    odd_files(tmp_path / "in")
    code = (
        "import sys\n"
        "from dinocli.cli.render import Terminal\n"
        "from dinocli.data.decode import read_native\n"
        "from dinocli.errors import DataError\n"
        "with Terminal(quiet=True):\n"  # on a slow machine a stage takes long enough for a line of its own
        "    for path in sys.argv[1:]:\n"
        "        try:\n"
        "            read_native(path)\n"
        "        except DataError:\n"
        "            pass\n"
    )
    paths = [str(path) for path in sorted((tmp_path / "in").iterdir())]
    done = subprocess.run([sys.executable, "-c", code, *paths], capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("warning: ")
    assert " decoder warnings about 3 files; the first: " in line
