"""Truth from annotations: the masks are those of the tools' own readers."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pycocotools.coco import COCO as Reader

from dinocli.data.labels import read_labels
from dinocli.data.sources import find_images
from dinocli.errors import DataError
from dinocli.segmentation.annotation_truth import AnnotationTruth, open_truth
from dinocli.segmentation.ground_truth import GroundTruth
from tests.data.test_annotations import yolo
from tests.tasks.drive import Ears

SIZE = (40, 60)
OUTLINE = [10.2, 5.0, 50.7, 8.3, 30.0, 33.3]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("1.png", "2.png", "3.png", "4.png"):
        Image.new("L", SIZE[::-1]).save(folder / name)
    return folder


def coco(path: Path) -> Path:
    shapes: list[Any] = [[OUTLINE], {"size": list(SIZE), "counts": [3, 20, SIZE[0] * SIZE[1] - 23]}]
    about: dict[str, Any] = {
        "images": [{"id": n, "file_name": f"{n}.png", "height": SIZE[0], "width": SIZE[1]} for n in (1, 2, 3)],
        "categories": [{"id": 5, "name": "scratch"}, {"id": 2, "name": "dent"}],
        "annotations": [
            {
                "id": n,
                "image_id": n,
                "category_id": 5,
                "bbox": [0, 0, 9, 9],
                "area": 9,
                "segmentation": shape,
                "iscrowd": n - 1,
            }
            for n, shape in enumerate(shapes, start=1)
        ],
    }
    path.write_text(json.dumps(about))
    return path


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools 2.0.11 itself
def test_masks_of_coco_are_those_of_pycocotools(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, listed = coco(tmp_path / "c.json"), find_images([str(images)])
    truth, reader = open_truth(str(path), listed, good_without_mask=False), Reader(str(path))
    for number in (1, 2):
        wanted = reader.annToMask(reader.loadAnns([number])[0])
        found = truth.read(f"./{number}.png", SIZE)
        assert (found == wanted).all()
        assert 0 < found.mean() < 1
    assert truth.read("./3.png", SIZE).max() == 0, "looked at, and nothing there"
    assert "./4.png" not in truth
    ears = Ears()
    truth.report(ears)
    assert "1 images have no object" in ears.lines[0]
    assert "1 images are not named" in ears.warnings[0]
    assert "./4.png" in open_truth(str(path), listed, good_without_mask=True)
    with pytest.raises(DataError, match="run lengths are of 60x40 px"):
        truth.read("./2.png", (60, 40))


def test_boxes_and_outlines_of_yolo(images: Path, tmp_path: Path) -> None:
    truth = AnnotationTruth(str(yolo(tmp_path)), find_images([str(images)]))
    found = truth.read("./1.png", (100, 200))
    assert (found[20:30, 80:120] == 2).all(), "scratch: a box of 0.4 to 0.6, 0.2 to 0.3"
    assert (found == 2).sum() == 10 * 40
    assert found[20, 50] == 1, "dent: a triangle"
    assert (found == 1).mean() == pytest.approx(0.2 * 0.4 / 2, abs=0.005)
    ears = Ears()
    truth.report_notes(ears)
    assert ears.warnings == ["1 objects have a box and no outline: the whole box counts as the object"]


def test_annotations_of_other_images_and_folders_of_masks(images: Path, tmp_path: Path) -> None:
    listed = find_images([str(images)])
    path = coco(tmp_path / "c.json")
    path.write_text(path.read_text().replace(".png", ".tif").replace('"file_name": "', '"file_name": "b'))
    with pytest.raises(DataError, match="names no image here"):
        open_truth(str(path), listed, good_without_mask=False)
    masks = tmp_path / "masks"
    masks.mkdir()
    Image.new("L", SIZE[::-1], 1).save(masks / "1.png")
    assert isinstance(open_truth(str(masks), listed, good_without_mask=False), GroundTruth)


def test_an_image_of_another_folder_lends_no_objects_to_one_that_is_named_itself(images: Path, tmp_path: Path) -> None:
    path = coco(tmp_path / "c.json")
    about = json.loads(path.read_text())
    about["images"].append({"id": 9, "file_name": "old/3.png", "height": SIZE[0], "width": SIZE[1]})
    about["images"].append({"id": 8, "file_name": "old/4.png", "height": SIZE[0], "width": SIZE[1]})
    about["annotations"] += [{"id": n, "image_id": n, "category_id": 5, "bbox": [0, 0, 9, 9]} for n in (8, 9)]
    path.write_text(json.dumps(about))
    truth, ears = open_truth(str(path), find_images([str(images)]), good_without_mask=False), Ears()
    assert [int(truth.read(f"./{number}.png", SIZE).sum()) for number in (3, 4)] == [0, 81]
    truth.report(ears)
    assert "matched by part of their path: old/4.png means ./4.png" in ears.lines[0]


def test_labels_from_annotations(images: Path, tmp_path: Path) -> None:
    names = list(find_images([str(images)]).names)
    notes: list[str] = []
    assert read_labels(str(coco(tmp_path / "c.json")), names, notes.append) == {
        "category": ["scratch", "scratch", "", ""]
    }
    assert any("no object" in note for note in notes)
    labels = yolo(tmp_path)
    assert read_labels(str(labels), names) == {"category": ["dent", "", "", ""]}
    (labels / "1.txt").write_text("")
    with pytest.raises(DataError, match="names no object"):
        read_labels(str(labels), names)
