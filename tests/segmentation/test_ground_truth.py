"""Which mask belongs to which image, and which images are good."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dinocli.data.image_list import ImageList
from dinocli.data.sources import find_images
from dinocli.errors import DataError
from dinocli.segmentation.ground_truth import GroundTruth
from tests.tasks.drive import Ears


def write(folder: Path, names: Sequence[str], value: int = 255) -> ImageList:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = np.zeros((8, 10), np.uint8)
        pixels[2:5, 3:6] = value
        Image.fromarray(pixels).save(folder / name)
    return find_images([str(folder)])


def test_an_image_is_never_its_own_mask(tmp_path: Path) -> None:
    images = write(tmp_path, ("a.png", "b.png", "c.png"))
    with pytest.raises(DataError, match="holds the images themselves: name the folder of their masks"):
        GroundTruth(str(tmp_path), images)


@pytest.mark.parametrize("ending", ["_mask", "_masks", "_cp_masks", "-label"])
def test_masks_beside_images_are_found_and_said(tmp_path: Path, ending: str) -> None:
    images = write(tmp_path, ("a.png", f"a{ending}.png", "b.png", f"b{ending}.png"))
    truth, heard = GroundTruth(str(tmp_path), images), Ears()
    assert [name for name in images.names if name in truth] == ["./a.png", "./b.png"]
    truth.report(heard)
    assert any(warning.startswith("2 of the images are masks of others") for warning in heard.warnings)


def test_an_image_of_a_folder_called_good_needs_no_mask(tmp_path: Path) -> None:
    images = write(tmp_path / "test", ("Good/a.png", "crack/b.png", "crack/c.png"))
    write(tmp_path / "truth", ("crack/b_mask.png",))
    truth, heard = GroundTruth(str(tmp_path / "truth"), images), Ears()
    assert [name for name in images.names if name in truth] == ["./Good/a.png", "./crack/b.png"]
    assert not truth.read("./Good/a.png", (8, 10)).any()
    assert truth.read("./crack/b.png", (8, 10)).sum() == 9 * 255
    truth.report(heard)
    assert heard.lines == [f"1 images without a mask in {tmp_path / 'truth'} count as good"]
    assert heard.warnings[0].startswith("1 of 3 images have no mask")
    everything = GroundTruth(str(tmp_path / "truth"), images, good_without_mask=True)
    assert all(name in everything for name in images.names)


def test_assumptions_about_masks_are_counted(tmp_path: Path) -> None:
    images = write(tmp_path / "in", ("a.png", "b.png"))
    write(tmp_path / "truth", ("a.jpg", "b.jpg"))
    truth, heard = GroundTruth(str(tmp_path / "truth"), images), Ears()
    for name in images.names:
        assert np.count_nonzero(truth.read(name, (8, 10))) == 9
    truth.report_notes(heard)
    (warning,) = heard.warnings
    assert warning.startswith(f"2 of 2 masks, such as {tmp_path / 'truth' / 'a.jpg'}: a lossy file: cut at half")


def test_files_that_are_no_mask_of_an_image_are_said(tmp_path: Path) -> None:
    images = write(tmp_path / "in", ("a.png", "b.png"))
    write(tmp_path / "truth", ("a.bmp", "a.jpg", "b.png", "b_mask_1.png", "c.png"))
    truth, heard = GroundTruth(str(tmp_path / "truth"), images), Ears()
    assert truth.read("./a.png", (8, 10)).max() == 255, "a.jpg was read, whose labels are 0 and 1"
    truth.report(heard)
    folder = tmp_path / "truth"
    assert heard.lines == [f"2 files in {folder} are the mask of no image here, such as {folder / 'b_mask_1.png'}"]
    assert heard.warnings == [f"1 masks have two files: {folder / 'a.bmp'} is read, not a.jpg"]
