"""COCO, YOLO and Pascal VOC annotations, against values by hand."""

import json
from pathlib import Path
from typing import Any

import pytest

from dinocli.data.annotated_images import AnnotatedObject
from dinocli.data.annotations import annotation_kind, image_categories, read_annotations
from dinocli.errors import DataError

COCO = {
    "images": [{"id": 7, "file_name": "a/1.png"}, {"id": 9, "file_name": "2.png"}, {"id": 11, "file_name": "3.png"}],
    "categories": [{"id": 3, "name": "scratch"}, {"id": 1, "name": "dent"}],
    "annotations": [
        {"id": 1, "image_id": 7, "category_id": 3, "bbox": [2, 3, 10, 4], "segmentation": [[2, 3, 12, 3, 12, 7]]},
        {"id": 2, "image_id": 7, "category_id": 1, "bbox": [0, 0, 20, 20], "segmentation": []},
        {"id": 3, "image_id": 9, "category_id": 3, "segmentation": {"size": [4, 5], "counts": [3, 2, 15]}},
    ],
}
VOC = """<annotation><filename>C:/data/{name}</filename><object><name>dent</name>
<bndbox><xmin>3</xmin><ymin>4</ymin><xmax>12</xmax><ymax>7</ymax></bndbox></object></annotation>"""


def coco(path: Path, **more: Any) -> Path:
    path.write_text(json.dumps(COCO | more))
    return path


def yolo(folder: Path) -> Path:
    labels = folder / "labels" / "train"
    labels.mkdir(parents=True)
    (folder / "data.yaml").write_text("path: .\nnames:\n  0: dent\n  1: scratch\n")
    (labels / "1.txt").write_text("1 0.5 0.25 0.2 0.1\n0 0.1 0.1 0.3 0.1 0.3 0.5\n")
    (labels / "2.txt").write_text("")
    (labels / "readme.txt").write_text("not a label file\n")
    return labels


def test_coco_boxes_polygons_and_rle_are_read(tmp_path: Path) -> None:
    found = read_annotations(coco(tmp_path / "c.json"))
    assert (found.kind, found.categories, found.relative) == ("coco", ("scratch", "dent"), False)
    first, second, third = found.images
    assert first.name == "a/1.png"
    assert first.objects[0] == AnnotatedObject("scratch", (2, 3, 10, 4), ((2, 3, 12, 3, 12, 7),))
    assert second.objects[0].rle["counts"] == [3, 2, 15]
    assert third.objects == ()
    categories, notes = image_categories(found)
    assert categories == {"a/1.png": "dent", "2.png": "scratch"}, "the class that covers most"
    assert notes[0].startswith("1 images have objects of several classes")
    assert notes[1].startswith("1 images have no object")


def test_yolo_boxes_and_polygons_are_read_as_fractions(tmp_path: Path) -> None:
    found = read_annotations(yolo(tmp_path))
    assert (found.kind, found.categories, found.relative) == ("yolo", ("dent", "scratch"), True)
    assert [image.name for image in found.images] == ["1", "2"]
    box, outline = found.images[0].objects
    assert box.category == "scratch"
    assert box.box == pytest.approx((0.4, 0.2, 0.2, 0.1))
    assert outline.box == pytest.approx((0.1, 0.1, 0.2, 0.4))
    assert outline.polygons == ((0.1, 0.1, 0.3, 0.1, 0.3, 0.5),)
    (tmp_path / "data.yaml").unlink()
    assert read_annotations(tmp_path / "labels").categories == ("0", "1"), "numbers, where nobody wrote names down"


def test_voc_boxes_are_read_as_zero_based_pixels(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.xml").write_text(VOC.format(name="1.jpg"))
    found = read_annotations(tmp_path)
    assert (found.kind, found.categories) == ("voc", ("dent",))
    assert found.images[0].name == "a/1.jpg"
    assert found.images[0].objects == (AnnotatedObject("dent", (2, 3, 10, 4)),), "pixels count from 1, the last one in"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"images": 3}, "cannot be read as COCO"),
        ({"categories": [{"id": 3}]}, "no 'name'"),
        ({"annotations": [{"image_id": 5, "category_id": 3}]}, "no 5"),
        ({"annotations": [{"image_id": 7, "category_id": 3, "bbox": [1, 2]}]}, "box of 2 numbers"),
    ],
)
def test_damaged_coco_raises_a_one_line_error(tmp_path: Path, more: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        read_annotations(coco(tmp_path / "c.json", **more))


@pytest.mark.parametrize(
    "line", ["dent 0.1 0.1 0.1 0.1", "0 0.1 0.1", "0 0.1 0.1 0.1 nan", "0 1 1 1 1 1 1 1", "0 9 9 5 5", "0 1 1 -1 1"]
)
def test_damaged_yolo_raises_a_one_line_error(tmp_path: Path, line: str) -> None:
    (tmp_path / "1.txt").write_text(line)
    with pytest.raises(DataError, match="cannot be read as YOLO"):
        read_annotations(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "<annotation><object/></annotation>",
        "<annotation>",
        "<annotation><object><name>a</name><bndbox/></object></annotation>",
    ],
)
def test_damaged_voc_raises_a_one_line_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "1.xml").write_text(text)
    with pytest.raises(DataError, match="cannot be read as Pascal VOC"):
        read_annotations(tmp_path)


def test_other_files_are_not_annotations(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("path,label\n")
    assert annotation_kind(tmp_path / "a.csv") == annotation_kind(tmp_path) == annotation_kind(tmp_path / "none") == ""
    with pytest.raises(DataError, match="holds no annotations"):
        read_annotations(tmp_path)


def test_byte_order_mark_is_not_part_of_a_class_name(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("\ufeffdent\r\nscratch\r\n", encoding="utf-8")
    (tmp_path / "1.txt").write_text("\ufeff0 0.5 0.5 0.2 0.2\r\n", encoding="utf-8")
    found = read_annotations(tmp_path)
    assert found.categories == ("dent", "scratch")
    assert [one.category for image in found.images for one in image.objects] == ["dent"]


@pytest.mark.parametrize(("written", "name"), [("x/", "1"), (" ", "1"), ("C:/a/b.png", "b.png"), ("", "1")])
def test_voc_image_name_is_a_base_name_or_that_of_the_xml_file(tmp_path: Path, written: str, name: str) -> None:
    (tmp_path / "1.xml").write_text(f"<annotation><filename>{written}</filename></annotation>")
    assert [image.name for image in read_annotations(tmp_path).images] == [name]


@pytest.mark.parametrize("numbers", ["[NaN, 1, 2, 3]", f"[1{'0' * 400}, 1, 2, 3]"])
def test_non_finite_coordinates_are_refused(tmp_path: Path, numbers: str) -> None:
    path = coco(tmp_path / "a.json")
    path.write_text(path.read_text().replace("[2, 3, 10, 4]", numbers))
    with pytest.raises(DataError, match="cannot be read as COCO"):
        read_annotations(path)
