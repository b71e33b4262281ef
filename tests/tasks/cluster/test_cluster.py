import csv
import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance
from pycocotools.coco import COCO

from dinocli.artifacts.feature_file import FeatureFile
from dinocli.errors import DataError, UsageError
from dinocli.report import cluster_sheet, page_thumbnails
from dinocli.report.map_page import MapPage
from dinocli.tasks.cluster import cluster_page, duplicate_groups
from dinocli.tasks.cluster.cluster import cluster
from dinocli.tasks.cluster.cluster_options import ClusterOptions
from dinocli.tasks.cluster.cluster_tables import write_selected
from tests.quality.groups import mixture
from tests.quality.test_aligned_similarity import scene
from tests.tasks.cluster.sets import make_set, write_features
from tests.tasks.drive import Ears


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def quick(home: Path) -> ClusterOptions:
    """With a cosine for duplicates no pixels are compared."""
    feats, table = str(make_set(home)), str(home / "out" / "clusters.csv")
    return ClusterOptions((feats,), table, k=2, report="none", duplicates=0.99)


@pytest.fixture
def job(tmp_path: Path) -> ClusterOptions:
    return quick(tmp_path)


@pytest.fixture(scope="module")
def plain_table(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What `job` as it is writes."""
    plain = quick(tmp_path_factory.mktemp("plain"))
    cluster(plain)
    return plain.table.read_text()


def test_the_table_has_every_image_with_what_is_known_of_it(job: ClusterOptions) -> None:
    outcome = cluster(job)
    rows = read(job.table)
    assert [row["path"] for row in rows][:2] == ["./bright/00.png", "./bright/01.png"]
    assert list(rows[0]) == ["path", "cluster", "distance", "margin", "medoid", "outlier", "x", "y", "cluster_name"]
    assert {(row["cluster"], row["cluster_name"]) for row in rows} == {
        (str(group.cluster), Path(group.medoid).name) for group in outcome.clusters
    }
    assert len(rows) == outcome.images == 20
    medoids = [row for row in rows if row["medoid"] == "1"]
    assert sorted(row["path"] for row in medoids) == sorted(group.medoid for group in outcome.clusters)
    assert {row["cluster"] for row in rows} == {"0", "1"}
    sizes = [group.size for group in outcome.clusters]
    assert sizes == sorted(sizes, reverse=True)
    assert rows[9]["outlier"] == max((row["outlier"] for row in rows), key=float)
    assert outcome.outliers[0][0] == "./bright/09.png"


def test_an_image_that_is_one_pixel_high_when_small_is_readable(job: ClusterOptions, tmp_path: Path) -> None:
    for name, size in (("bright/03.png", (4000, 6)), ("bright/04.png", (1, 1))):
        Image.new("L", size, 120).save(tmp_path / "images" / name)
    cluster(job)
    kinds = {(row["path"], row["issue"]) for row in read(job.table.with_name("issues.csv"))}
    assert {kind for _, kind in kinds} >= {"odd_aspect", "blank"}
    assert "unreadable" not in {kind for _, kind in kinds}


def test_tables_of_tiles_say_which_tile(tmp_path: Path) -> None:
    """Four tiles an image: a pair of tiles is not a pair of images, and tiles of one image are in several groups."""
    rows = np.kron(np.array([[5.0, 0.0], [0.0, 5.0], [5.0, 1.0], [1.0, 5.0]]), np.ones((2, 1)))
    names = [f"./{number}.png" for number in (0, 0, 0, 0, 1, 1, 1, 1)]
    feats = write_features(tmp_path / "feats.npy", rows + np.eye(8, 2), names, tmp_path)
    boxes = [(8 * (number % 4), 0, 8, 8) for number in range(8)]
    lines = [",".join((name, *map(str, box))) for name, box in zip(names, boxes, strict=True)]
    (tmp_path / "feats.tiles.csv").write_text("path,left,top,width,height\n" + "\n".join(lines))
    table = tmp_path / "clusters.csv"
    job = ClusterOptions((str(feats),), str(table), k=2, duplicates=0.97, drift=str(feats), report="none")
    cluster(job)
    pairs = read(tmp_path / "duplicates.csv")
    same = {(pair["path"], pair["left"], pair["other"], pair["other_left"]) for pair in pairs}
    assert ("./0.png", "16", "./0.png", "24") in same
    for name in ("duplicate_groups.csv", "drift.csv"):
        assert {(row["path"], row["left"], row["height"]) for row in read(tmp_path / name)} <= {
            (name, str(box[0]), "8") for name, box in zip(names, boxes, strict=True)
        }
    earlier = [str(1 - int(row["cluster"])) for row in read(table)]
    numbered = [f"{line},{number}" for line, number in zip(lines, earlier, strict=True)]
    (tmp_path / "before.csv").write_text("path,left,top,width,height,cluster\n" + "\n".join(numbered))
    cluster(replace(job, ids_from=str(tmp_path / "before.csv"), drift="", force=True))
    assert [row["cluster"] for row in read(table)] == earlier


def test_copies_and_near_pairs(job: ClusterOptions) -> None:
    outcome = cluster(job)
    table = read(job.table.with_name("duplicates.csv"))
    exact = [row for row in table if row["exact"] == "1"]
    assert [(row["path"], row["other"]) for row in exact] == [
        ("./bright/00.png", "./bright/01.png"),
        ("./dark/00.png", "./dark/01.png"),
    ]
    assert outcome.copies == 2
    assert cluster(replace(job, duplicates=0.0, force=True)).duplicates is None, "not searched is not none found"
    near = cluster(replace(job, duplicates=0.5, force=True))
    assert near.duplicates is not None
    assert near.duplicates > 2
    cosines = [float(row["cosine"]) for row in read(job.table.with_name("duplicates.csv"))]
    assert cosines == sorted(cosines, reverse=True)


def test_issues_are_listed_and_odd_appearance_counts(job: ClusterOptions, tmp_path: Path) -> None:
    Image.new("L", (32, 24), 120).save(tmp_path / "images" / "dark" / "05.png")
    Image.new("L", (300, 24), 60).save(tmp_path / "images" / "dark" / "07.png")
    (tmp_path / "images" / "bright" / "03.png").write_bytes(b"no image")
    turned = Image.Exif()
    turned[274] = 6
    with Image.open(tmp_path / "images" / "dark" / "08.png") as usual:
        usual.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "images" / "dark" / "08.png", exif=turned)
    outcome = cluster(job)
    found = {(row["path"], row["issue"]) for row in read(job.table.with_name("issues.csv"))}
    assert {("./dark/05.png", "blank"), ("./dark/07.png", "blank"), ("./bright/03.png", "unreadable")} <= found
    assert {("./dark/07.png", "odd_aspect"), ("./dark/07.png", "odd_size")} <= found
    assert [path for path, issue in found if issue == "odd_aspect"] == ["./dark/07.png"], "08 is upright by its EXIF"
    assert outcome.issues["blank"] == 2
    with_checks = [row["outlier"] for row in read(job.table)]
    cluster(replace(job, checks=False, force=True, out=str(tmp_path / "plain" / "c.csv")))
    assert not (tmp_path / "plain" / "issues.csv").exists()
    assert [row["outlier"] for row in read(tmp_path / "plain" / "c.csv")] != with_checks


def test_numbers_of_groups_hold_and_another_batch_is_compared(
    job: ClusterOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    titles: list[list[str]] = []

    def sheet_png(*_: object, row_labels: list[str], **__: object) -> bytes:
        titles.append(row_labels)
        return b""

    monkeypatch.setattr(cluster_sheet, "sheet_png", sheet_png)
    cluster(job)
    rows = read(job.table)
    other = {"0": "7", "1": "4"}
    lines = [f"{row['path']},{other[row['cluster']]}\n" for row in rows]
    (tmp_path / "earlier.csv").write_text("path,cluster\n" + "".join(lines))
    again = replace(job, ids_from=str(tmp_path / "earlier.csv"), drift=job.inputs[0], force=True)
    again = replace(again, sheet=str(tmp_path / "sheet.png"))
    heard = Ears()
    outcome = cluster(again, heard)
    assert any(line.endswith("earlier.csv, by the names of 20 of 20 images") for line in heard.lines)
    assert [row["cluster"] for row in read(job.table)] == [other[row["cluster"]] for row in rows]
    assert sorted(group.cluster for group in outcome.clusters) == [4, 7]
    assert titles[0] == [f"{group.cluster} · {group.name}: {group.size}" for group in outcome.clusters]
    assert outcome.drift is not None
    assert not outcome.drift["differs"]
    assert set(outcome.drift) == {"p", "differs", "features", "appearance"}
    assert len(read(job.table.with_name("drift.csv"))) == 20
    shifted = np.load(job.inputs[0])
    shifted[:, 3] += 9
    names = [row["path"] for row in rows]
    feats = write_features(tmp_path / "new.npy", shifted, names, tmp_path / "images")
    found = cluster(replace(again, drift=str(feats))).drift
    assert found is not None
    assert found["differs"]


def test_another_batch_and_an_earlier_table_are_checked_before_any_work(job: ClusterOptions, tmp_path: Path) -> None:
    narrow = write_features(tmp_path / "narrow.npy", np.eye(4, dtype=np.float32), list("abcd"), tmp_path / "images")
    for options, words in (
        (replace(job, ids_from=job.inputs[0]), "cannot read groups"),
        (replace(job, drift=str(narrow)), "4 values a row"),
    ):
        heard = Ears()
        with pytest.raises(DataError, match=words):
            cluster(options, heard)
        assert not heard.lines


def test_images_that_are_gone_are_said(job: ClusterOptions, tmp_path: Path) -> None:
    """Without them a table of issues is empty because nobody looked."""
    shutil.move(tmp_path / "images", tmp_path / "elsewhere")
    heard = Ears()
    cluster(job, heard)
    assert "are not in" in heard.warnings[0]
    assert heard.warnings[1:] == ["without the images there are no copies, issues and pictures"]
    with pytest.raises(UsageError, match=r"--link-dir needs the images: their folder .*images is gone"):
        cluster(replace(job, link_dir=str(tmp_path / "links"), force=True))


def test_near_copies_are_found_without_a_threshold_and_grouped(tmp_path: Path) -> None:
    """Thirty scenes of two kinds; two have a turned or brighter copy, one an exact one and a turned one."""
    folder = tmp_path / "images"
    folder.mkdir()
    random = np.random.default_rng(0)
    centres = random.normal(size=(2, 64))
    names, rows = [], []
    for number in range(30):
        image, row = scene(number), centres[number % 2] + 0.7 * random.normal(size=64)
        copies = {0: [image.rotate(3, Image.Resampling.BICUBIC)], 1: [ImageEnhance.Brightness(image).enhance(1.2)]}
        for copy, picture in enumerate([image, *copies.get(number % 10 if number < 2 else 9, [])]):
            names.append(f"./{number:02}_{copy}.png")
            picture.save(folder / names[-1])
            rows.append(row + (0.2, 0.9)[number % 2] * copy * random.normal(size=64))
    shutil.copyfile(folder / "00_0.png", folder / "00_x.png")
    feats = write_features(tmp_path / "f.npy", [*rows, rows[0]], [*names, "./00_x.png"], folder)
    job = ClusterOptions((str(feats),), str(tmp_path / "out" / "clusters.csv"), k=2, report="none")
    outcome = cluster(job)
    pairs = {(row["path"], row["other"]): row for row in read(job.table.with_name("duplicates.csv"))}
    assert set(pairs) == {("./00_0.png", "./00_x.png"), ("./00_0.png", "./00_1.png"), ("./01_0.png", "./01_1.png")}
    assert [row["exact"] for row in pairs.values()] == ["1", "0", "0"]
    assert float(pairs["./00_0.png", "./00_1.png"]["likeness"]) > 0.8
    groups = read(job.table.with_name("duplicate_groups.csv"))
    assert [(row["group"], row["path"]) for row in groups][3:] in (
        [("1", "./01_0.png"), ("1", "./01_1.png")],
        [("1", "./01_1.png"), ("1", "./01_0.png")],
    )
    assert [row["keep"] for row in groups] == ["1", "0", "0", "1", "0"]
    assert (outcome.copies, outcome.duplicates, outcome.duplicate_groups) == (1, 2, 2)
    assert "nearest neighbours usually have a cosine of" in outcome.duplicate_reason


def test_equal_files_with_different_features_were_replaced(tmp_path: Path) -> None:
    feats = make_set(tmp_path)
    for name in ("05.png", "06.png"):
        shutil.copy(tmp_path / "images" / "bright" / "04.png", tmp_path / "images" / "bright" / name)
    heard = Ears()
    cluster(ClusterOptions((str(feats),), str(tmp_path / "clusters.csv"), k=2, report="none"), heard)
    (warning,) = [text for text in heard.warnings if "embed the folder again" in text]
    assert warning.startswith("2 pairs of equal files, such as ./bright/04.png and ./bright/05.png")


def covered_set(folder: Path, *, alike: bool) -> Path:
    """Write twenty scenes, or noisy images of one part, and of the first a copy with a black bar and other features."""
    (folder / "images").mkdir(parents=True)
    random = np.random.default_rng(0)
    names, rows = [], []
    for number in range(21):
        image = scene(0 if alike or number == 20 else number)
        if alike:
            image = Image.fromarray((np.asarray(image) * 0.9 + 20 * random.random((160, 200, 1))).astype(np.uint8))
        if number == 20:
            image.paste((20, 20, 20), (0, 112, 200, 131))
        names.append(f"./{number:02}.png")
        image.save(folder / "images" / names[-1])
        rows.append(random.normal(size=64))
    return write_features(folder / "f.npy", np.array(rows, np.float32), names, folder / "images")


@pytest.mark.parametrize(
    ("alike", "checks", "found"),
    [(False, True, [("./00.png", "./20.png")]), (True, True, []), (False, False, [])],
    ids=["scenes", "parts in one position", "images are not decoded"],
)
def test_a_copy_with_a_covered_part_is_found_whatever_its_features(
    tmp_path: Path, *, alike: bool, checks: bool, found: list[tuple[str, str]]
) -> None:
    feats = covered_set(tmp_path, alike=alike)
    job = ClusterOptions((str(feats),), str(tmp_path / "clusters.csv"), k=2, report="none", checks=checks)
    cluster(job)
    pairs = read(job.table.with_name("duplicates.csv"))
    assert [(row["path"], row["other"]) for row in pairs] == found
    assert all(float(row["likeness"]) > 0.9 > float(row["cosine"]) for row in pairs)


def test_one_image_has_no_usual_neighbours(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    Image.new("L", (8, 8)).save(tmp_path / "images" / "a.png")
    feats = write_features(tmp_path / "f.npy", np.ones((1, 4), np.float32), ["./a.png"], tmp_path / "images")
    outcome = cluster(ClusterOptions((str(feats),), str(tmp_path / "clusters.csv"), report="none"))
    assert outcome.duplicate_reason == "no image has a neighbour with other features"
    assert outcome.outliers[0][1] == 0


def test_too_many_pairs_are_a_warning(job: ClusterOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(features: object, threshold: float) -> None:
        raise DataError("too many")

    monkeypatch.setattr(duplicate_groups, "near_duplicates", refuse)
    ear = Ears()
    outcome = cluster(job, ear)
    assert outcome.duplicates is None
    assert len(read(job.table.with_name("duplicates.csv"))) == 2
    assert any("near-duplicates are not listed: too many" in text for text in ear.warnings)


def test_a_large_set_is_searched_group_by_group(job: ClusterOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    everywhere = cluster(replace(job, duplicates=0.05)).duplicates
    monkeypatch.setattr(duplicate_groups, "ALL_PAIRS_ROWS", 5)
    within = cluster(replace(job, duplicates=0.05, force=True)).duplicates
    assert everywhere is not None
    assert within is not None
    assert 0 < within <= everywhere


def test_labels_are_compared_and_never_used(job: ClusterOptions) -> None:
    outcome = cluster(replace(job, labels="folder"))
    assert outcome.agreement["folder"]["accuracy"] >= 0.9
    assert set(outcome.agreement["folder"]) == {"NMI", "ARI", "accuracy"}
    found = outcome.label_counts["folder"]
    assert (found.labels, found.groups) == (["bright", "dark"], [0, 1])
    rows = read(job.table)
    for group, counts in zip(found.groups, found.counts, strict=True):
        inside = [row["path"].split("/")[1] for row in rows if row["cluster"] == str(group)]
        assert counts == [inside.count("bright"), inside.count("dark")]
    without = job.table.read_bytes()
    cluster(replace(job, force=True))
    assert job.table.read_bytes() == without


@pytest.mark.parametrize(
    "change",
    [
        {"k": 3},
        {"method": "agglomerative", "k": 4},
        {"method": "hdbscan", "k": 0, "min_size": 3},
        {"pca": 2},
        {"whiten": True},
        {"min_size": 11},
        {"map": "tsne"},
    ],
    ids=str,
)
def test_every_option_changes_the_table(job: ClusterOptions, plain_table: str, change: dict[str, object]) -> None:
    cluster(replace(job, **change))  # type: ignore[arg-type]
    assert job.table.read_text() != plain_table


def test_the_same_job_gives_the_same_table(job: ClusterOptions, plain_table: str) -> None:
    cluster(job)
    assert job.table.read_text() == plain_table


def test_small_groups_are_dissolved(job: ClusterOptions) -> None:
    outcome = cluster(replace(job, k=3, min_size=5))
    assert min(group.size for group in outcome.clusters) >= 5
    assert outcome.ungrouped == 20 - sum(group.size for group in outcome.clusters) > 0
    assert {row["cluster"] for row in read(job.table)} == {"-1", "0", "1"}


def test_the_same_whatever_the_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dinocli.quality.normalized_features.BLOCK_ROWS", 64)
    points, _ = mixture(4, 200, noise=2.5)
    feats = write_features(tmp_path / "feats.npy", points, [f"./{i}.png" for i in range(200)], tmp_path)
    tables = []
    for threads in ("1", "2"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        job = ClusterOptions((str(feats),), str(tmp_path / threads / "clusters.csv"), k=6, report="none", seed=3)
        cluster(job)
        tables.append(job.table.read_bytes())
    assert tables[0] == tables[1]


def test_select_is_diverse_and_free_of_copies(job: ClusterOptions) -> None:
    heard = Ears()
    assert cluster(replace(job, select=20), heard).selected == 18
    assert "--select 20: without copies there are 18 images, all selected" in heard.lines
    names = job.table.with_name("selected.txt").read_text().splitlines()
    assert len(set(names)) == 18
    assert len({"./bright/00.png", "./bright/01.png"} & set(names)) == 1
    assert "./bright/09.png" in names[:3]


def test_rows_that_are_not_finite_are_left_out(job: ClusterOptions) -> None:
    feats = Path(job.inputs[0])
    rows = np.load(feats)
    rows[4] = np.nan
    np.save(feats, rows)
    ear = Ears()
    outcome = cluster(job, ear)
    assert (outcome.images, outcome.dropped) == (19, 1)
    assert "./bright/04.png" not in job.table.read_text()
    assert "1 of 20 rows" in ear.warnings[0]


def test_the_page_shows_issues_and_drift(job: ClusterOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[MapPage] = []
    monkeypatch.setattr(cluster_page, "write_map_page", lambda path, data: seen.append(data))
    Image.new("L", (32, 24), 90).save(tmp_path / "images" / "bright" / "05.png")
    cluster(replace(job, report="", drift=job.inputs[0]))
    assert [(issue.row, issue.kind) for issue in seen[0].issues] == [(5, "blank")]
    drift, table = seen[0].drift, read(job.table.with_name("drift.csv"))
    assert drift is not None
    assert drift.verdict.startswith("the new batch shows no difference from the old one (p = 1.000: features ")
    assert list(drift.names) == [row["path"] for row in table]
    assert drift.scores == pytest.approx([float(row["score"]) for row in table], abs=1e-4)
    assert len(drift.pictures) == 20
    shutil.rmtree(tmp_path / "images")
    cluster(replace(job, report=str(tmp_path / "gone.html"), drift=job.inputs[0], force=True))
    assert seen[1].drift is not None
    assert (len(seen[1].drift.names), len(seen[1].drift.pictures)) == (20, 0)


def test_page_and_sheet_show_the_images(job: ClusterOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[MapPage] = []
    monkeypatch.setattr(cluster_page, "write_map_page", lambda path, data: seen.append(data))
    job = replace(job, report="", sheet=str(tmp_path / "sheet.png"), labels="folder")
    cluster(job)
    assert [image.name for image in seen[0].images] == [row["path"] for row in read(job.table)]
    assert {image.label for image in seen[0].images} == {"bright", "dark"}
    medoids = {image.cluster: Path(image.name).name for image in seen[0].images if image.medoid}
    assert seen[0].clusters == [f"{group} · {medoids[group]}" for group in (0, 1)]
    assert [(group.rows, group.exact) for group in seen[0].duplicates] == [([0, 1], True), ([10, 11], True)]
    assert (seen[0].copies, seen[0].near) == (2, 0)
    assert seen[0].method.startswith("PCA: the two directions")
    units = np.load(job.inputs[0]) / np.linalg.norm(np.load(job.inputs[0]), axis=1, keepdims=True)
    for row, image in enumerate(seen[0].images):
        cosine = units @ units[row]
        cosine[row] = -2
        assert [value for _, value in image.neighbours] == pytest.approx(sorted(cosine)[:-9:-1], abs=1e-6)
        assert all(cosine[other] == pytest.approx(value, abs=1e-6) for other, value in image.neighbours)
    assert seen[0].images[3].original == tmp_path / "images" / "bright" / "03.png"
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 8 * 128


def test_thumbnails_beyond_the_limit_lie_beside_the_page(job: ClusterOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_thumbnails, "EMBEDDED_BYTES", 1000)
    cluster(replace(job, report=""))
    folder = job.table.with_name("report_files")
    assert len(list(folder.iterdir())) == 20
    with Image.open(folder / "3.webp") as bright, Image.open(folder / "13.webp") as dark:
        assert np.asarray(bright).mean() > 150 > 90 > np.asarray(dark).mean()
    assert "report_files/" in job.table.with_name("report.html").read_text()
    with pytest.raises(UsageError, match="report"):
        cluster(replace(job, report=str(job.table.with_name("report.html")), out=str(job.table.with_name("other.csv"))))


def test_a_page_of_too_many_images_shows_a_sample_with_the_medoids(
    job: ClusterOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[MapPage] = []
    monkeypatch.setattr(cluster_page, "write_map_page", lambda path, data: seen.append(data))
    monkeypatch.setattr(cluster_page, "PAGE_ROWS", 8)
    cluster(replace(job, report=""))
    assert len(seen[0].images) == 8
    assert sum(image.medoid for image in seen[0].images) == 2
    shown = [[seen[0].images[place].name for place in group.rows] for group in seen[0].duplicates]
    assert shown == [["./bright/00.png", "./bright/01.png"], ["./dark/00.png", "./dark/01.png"]]
    assert any("sample of" in note for note in seen[0].notes)


def test_a_second_table_in_the_folder_has_files_of_its_own(job: ClusterOptions) -> None:
    home = job.table.parent
    home.mkdir()
    (home / "report.html").write_text("of the first")
    more = {"drift": job.inputs[0], "select": 2}
    first = cluster(replace(job, **more))  # type: ignore[arg-type]
    before = {path.name: path.read_bytes() for path in home.iterdir()}
    second = cluster(replace(job, out=str(home / "other.csv"), k=3, **more))  # type: ignore[arg-type]
    plain = [path.name for path in first.files[1:]]
    assert plain == ["duplicates.csv", "duplicate_groups.csv", "issues.csv", "drift.csv", "selected.txt"]
    assert [path.name for path in second.files] == ["other.csv", *(f"other.{name}" for name in plain)]
    assert {path.name: path.read_bytes() for path in home.iterdir() if path.name in before} == before
    assert replace(job, report="").page == home / "report.html"
    assert replace(job, out=str(home / "other.csv"), report="").page == home / "other.html"


def test_an_existing_table_is_refused_before_any_work(job: ClusterOptions) -> None:
    cluster(job)
    with pytest.raises(UsageError, match=r"clusters\.csv already exists; add --force"):
        cluster(replace(job, inputs=("nowhere.npy",)))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"method": "dbscan"}, "--method 'dbscan' is not known"),
        ({"map": "som"}, "--map 'som' is not known"),
        ({"method": "hdbscan"}, "leave -k out"),
        ({"duplicates": 1.5}, "1.5 is not a cosine"),
        ({"copy": True}, "--copy needs --link-dir"),
    ],
)
def test_contradicting_options_are_refused(job: ClusterOptions, change: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        replace(job, **change)  # type: ignore[arg-type]


def test_more_groups_than_images(job: ClusterOptions) -> None:
    with pytest.raises(UsageError, match=r"-k 21 asks for more groups than there are images \(20\)"):
        cluster(replace(job, k=21))


def test_the_outcome_is_json(job: ClusterOptions) -> None:
    data = json.loads(json.dumps(cluster(replace(job, k=0, labels="folder")).to_dict()))
    assert data["k"] == len(data["clusters"])
    assert [one["k"] for one in data["curve"]] == [2, 3, 4, 5]
    assert data["files"][0] == data["out"]


def test_somebody_elses_matrix_without_names(tmp_path: Path) -> None:
    np.save(tmp_path / "m.npy", mixture(3, 30, noise=0.3)[0])
    outcome = cluster(ClusterOptions((str(tmp_path / "m.npy"),), str(tmp_path / "c.csv"), k=3, select=3))
    assert [row["path"] for row in read(tmp_path / "c.csv")][:2] == ["./0", "./1"]
    assert not (tmp_path / "report.html").exists()
    assert outcome.selected == 3


def test_the_selection_of_tiles_names_each_image_once(tmp_path: Path) -> None:
    names = ["./a.png", "./a.png", "./b.png", "./b.png"]
    members = FeatureFile(tmp_path / "f.npy", np.eye(4, dtype=np.float32), names, {})
    write_selected(tmp_path / "selected.txt", members, [2, 0, 3])
    assert (tmp_path / "selected.txt").read_text() == "./b.png\n./a.png\n"


def test_groups_duplicates_and_the_selection_are_coco_that_pycocotools_reads(
    job: ClusterOptions, tmp_path: Path
) -> None:
    path = tmp_path / "groups.json"
    outcome = cluster(replace(job, coco=str(path), select=3))
    found = COCO(str(path))
    names = {key: category["name"] for key, category in found.cats.items()}
    counts = Counter(names[one["category_id"]] for one in found.loadAnns(found.getAnnIds()))
    assert {f"cluster {group.cluster}": group.size for group in outcome.clusters}.items() <= counts.items()
    assert counts["selected"] == 3
    assert counts["duplicate"] == sum(row["keep"] == "0" for row in read(job.table.with_name("duplicate_groups.csv")))
    assert len(found.imgs) == 20
    assert path in outcome.files
    with pytest.raises(UsageError, match="already exists"):
        cluster(replace(job, out=str(tmp_path / "other.csv"), coco=str(path)))
