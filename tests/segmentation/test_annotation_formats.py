import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from pycocotools.coco import COCO

from dinocli.segmentation.annotation_formats import category_names, write_coco, write_segments_csv, yolo_lines
from dinocli.segmentation.regions import ImageRecord, find_regions, region_record

# pycocotools 2.0.11 itself
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

HOSTILE = ["./=cmd|' /C calc'!A0.png", './a,"b".png', "./<img src=x>.png", "./ü/日本.png", "./[red]/x.png"]


def labels(seed: int) -> NDArray[np.uint16]:
    """Two labels of a few rectangles each, without holes."""
    random = np.random.default_rng(seed)
    drawn = np.zeros((30, 40), np.uint16)
    for label in (1, 2, 1):
        top, left = random.integers(0, 20, 2)
        drawn[top : top + 7, left : left + 9] = label
    return drawn


def record(name: str, drawn: NDArray[np.uint16], **more: Any) -> ImageRecord:
    soft = np.full(drawn.shape, 0.75, np.float32)
    regions = find_regions(drawn, soft, connected=True)
    described = [region_record(region, (30, 40), counts=True, outlines=True) for region in regions]
    filled = {"empty_reason": "", "metrics": {"lambda_2": 0.5}, "score": 0.9, **more}
    return ImageRecord(image=name, mask="masks/x.png", height=30, width=40, regions=described, **filled)


def records() -> list[ImageRecord]:
    made = [record(name, labels(seed)) for seed, name in enumerate(HOSTILE)]
    return [*made, record("./empty.png", np.zeros((30, 40), np.uint16), empty_reason="smooth", metrics={})]


def test_a_record_comes_back_from_json() -> None:
    for one in records():
        assert ImageRecord.from_dict(json.loads(json.dumps(one.to_dict()))) == one


@pytest.mark.parametrize("as_polygons", [False, True])
def test_coco_loads_and_gives_the_masks_back(
    tmp_path: Path, as_polygons: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    made = records()
    write_coco(tmp_path / "c.json", made, category_names([1, 2], "object"), as_polygons=as_polygons)
    coco = COCO(str(tmp_path / "c.json"))
    capsys.readouterr()
    assert [image["file_name"] for image in coco.dataset["images"]] == [one.image[2:] for one in made]
    assert {category["name"] for category in coco.dataset["categories"]} == {"object 1", "object 2"}
    for number in range(1, len(HOSTILE) + 1):
        drawn = np.zeros((30, 40), np.uint16)
        for annotation in coco.loadAnns(coco.getAnnIds(imgIds=[number])):
            mask = coco.annToMask(annotation).astype(bool)
            assert mask.sum() == annotation["area"]
            left, top, width, height = annotation["bbox"]
            assert mask[top : top + height, left : left + width].sum() == mask.sum()
            drawn[mask] = annotation["category_id"]
        np.testing.assert_array_equal(drawn, labels(number - 1))
    assert coco.getAnnIds(imgIds=[len(made)]) == []


def test_yolo_polygons_draw_the_mask() -> None:
    text = yolo_lines(record("./a.png", labels(0)))
    assert text
    drawn = np.zeros((30, 40), np.uint16)
    for line in text.splitlines():
        number, *shares = line.split()
        corners = np.array(shares, float).reshape(-1, 2)
        assert corners.min() >= 0
        assert corners.max() <= 1
        ten = Image.new("1", (400, 300))  # ten times as large: PIL draws the border of a polygon too
        ImageDraw.Draw(ten).polygon([tuple(corner) for corner in corners * (400, 300)], fill=1)
        drawn[np.asarray(ten)[5::10, 5::10]] = int(number) + 1
    np.testing.assert_array_equal(drawn, labels(0))
    assert yolo_lines(records()[-1]) == ""


def test_the_table_has_a_row_a_region_and_one_for_nothing(tmp_path: Path) -> None:
    made = records()
    write_segments_csv(tmp_path / "s.csv", made, category_names([1, 2], "object"))
    with (tmp_path / "s.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == sum(len(one.regions) for one in made) + 1
    assert {row["image"] for row in rows} == {one.image for one in made}
    assert all(row["image"].startswith("./") for row in rows)
    first = rows[0]
    assert int(first["area"]) / 1200 == pytest.approx(float(first["area_fraction"]), rel=1e-4)
    assert (first["category"], first["score"], first["lambda_2"]) == ("object 1", "0.75", "0.5")
    assert (rows[-1]["segment"], rows[-1]["empty_reason"], rows[-1]["lambda_2"]) == ("0", "smooth", "")


def test_category_names_by_segment_and_method() -> None:
    assert category_names([1], "anomaly") == {1: "anomaly"}
    assert category_names([3, 1, 1], "segment") == {1: "segment 1", 3: "segment 3"}
    assert category_names([], "object") == {}
