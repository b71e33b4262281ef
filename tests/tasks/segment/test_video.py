import contextlib
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from dinocli.data.read import Reader
from dinocli.data.video import unpack
from dinocli.errors import DataError, Interrupted, UsageError
from dinocli.segmentation import propagate as module
from dinocli.segmentation.method import FeatureGrid
from dinocli.segmentation.output_names import natural_order
from dinocli.segmentation.propagate import (
    NEIGHBOURS,
    RADIUS,
    TEMPERATURE,
    Propagation,
    _Frame,
    first_labels,
    label_fractions,
    propagate_labels,
)
from dinocli.tasks.segment.segment import segment
from tests.data.files import noise, settings
from tests.tasks.segment.discs import StopsAfter, Unlike, disc_options

SIZE = (96, 128)


def square(frame: int) -> NDArray[np.bool_]:
    """Moves to the right by 6 pixels a frame, and down by 2."""
    mask = np.zeros(SIZE, bool)
    mask[20 + 2 * frame : 52 + 2 * frame, 16 + 6 * frame : 48 + 6 * frame] = True
    return mask


def frame(number: int) -> NDArray[np.uint8]:
    random = np.random.default_rng(0)  # the background stands still, the square has its own texture
    background = random.integers(30, 90, (*SIZE, 3))
    stripes = 150 + 80 * (np.arange(32)[:, None] // 4 % 2) + random.integers(0, 20, (32, 32))
    pixels = background.copy()
    rows, columns = np.nonzero(square(number))
    pixels[rows, columns] = np.repeat(stripes.reshape(-1, 1), 3, axis=1)
    return pixels.clip(0, 255).astype(np.uint8)


def write_video(path: Path, frames: int) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=Fraction(10))
        stream.height, stream.width = SIZE
        stream.pix_fmt = "yuv420p"
        stream.bit_rate = 4_000_000
        for number in range(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame(number), format="rgb24")))
        container.mux(stream.encode(None))
    return path


def iou(one: NDArray[Any], other: NDArray[Any]) -> float:
    return float(((one > 0) & (other > 0)).sum() / ((one > 0) | (other > 0)).sum())


def slow_propagation(features: NDArray[np.float32], remembered: list[_Frame]) -> NDArray[np.float64]:
    rows, columns = features.shape[:2]
    labels = np.zeros((rows, columns, remembered[0].labels_hwK.shape[-1]))
    for row in range(rows):
        for column in range(columns):
            found = [
                (float(features[row, column] @ old.features_hwD[r, c]), old.labels_hwK[r, c])
                for old in remembered
                for r in range(rows)
                for c in range(columns)
                if abs(r - row) <= module.RADIUS and abs(c - column) <= module.RADIUS
            ]
            best = sorted(found, key=lambda pair: -pair[0])[:NEIGHBOURS]
            weights = np.exp(np.array([cosine for cosine, _ in best]) / TEMPERATURE)
            labels[row, column] = sum(w * old for w, (_, old) in zip(weights, best, strict=True)) / weights.sum()
    return labels


@pytest.mark.parametrize("radius", [1, 3, RADIUS])
def test_labels_are_propagated_as_by_the_slow_loop(radius: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RADIUS", radius)
    random = np.random.default_rng(0)

    def one() -> _Frame:
        features = random.standard_normal((7, 9, 5)).astype(np.float32)
        features /= np.linalg.norm(features, axis=-1, keepdims=True)
        return _Frame(features, random.dirichlet([1, 1, 1], (7, 9)).astype(np.float32))

    remembered = [one() for _ in range(3)]
    features = one().features_hwD
    fast = propagate_labels(features, remembered)
    np.testing.assert_allclose(fast, slow_propagation(features, remembered), atol=1e-5)
    np.testing.assert_allclose(fast.sum(axis=-1), 1, atol=1e-5)


def test_shares_of_a_patch_add_up() -> None:
    labels = np.array([[0, 0, 7, 7], [0, 3, 7, 7]])
    found = label_fractions(labels, [0, 3, 7], (1, 2))
    np.testing.assert_allclose(found, np.array([[[0.75, 0.25, 0], [0, 0, 1]]]))


def test_a_moving_square_is_followed(tmp_path: Path) -> None:
    video = write_video(tmp_path / "clip.mp4", 10)
    Image.fromarray(square(0).astype(np.uint8) * 255).save(tmp_path / "first.png")
    options = disc_options(video, tmp_path / "out", propagate=str(tmp_path / "first.png"), size=192)
    outcome = segment(options)
    assert (outcome.images, outcome.method.name, outcome.empty_images) == (10, "propagate", 0)
    found = [np.asarray(Image.open(tmp_path / "out" / "masks" / f"{number:06}.png")) for number in range(10)]
    overlaps = [iou(mask, square(number)) for number, mask in enumerate(found)]
    assert min(overlaps) > 0.85, overlaps
    assert iou(found[0], square(9)) < 0.1  # had it stayed where it was


def test_frames_of_several_sizes_are_refused() -> None:
    fitted = Propagation(np.ones((32, 32), np.int64)).fit([])
    fitted.apply(FeatureGrid(np.ones((4, 4, 3), np.float32)))
    with pytest.raises(DataError, match="needs frames of one size"):
        fitted.apply(FeatureGrid(np.ones((4, 5, 3), np.float32)))


def content(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Bytes and modification time of each file."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def test_a_video_is_a_folder_of_frames(tmp_path: Path) -> None:
    video, out = write_video(tmp_path / "clip.mp4", 4), tmp_path / "out"
    outcome = segment(disc_options(video, out), method=Unlike())
    assert (outcome.images, outcome.root) == (4, str(out / "frames" / "clip"))
    shown = [np.asarray(Image.open(out / "frames" / "clip" / f"{n:06}.png")) for n in range(4)]
    assert all(np.abs(pixels.astype(int) - frame(n)).mean() < 25 for n, pixels in enumerate(shown))
    assert ".part" not in (out / "report.html").read_text()  # the page links to the frames
    assert not (out / ".part").exists()


def test_a_complete_video_is_not_decoded_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video, out = write_video(tmp_path / "clip.mp4", 4), tmp_path / "out"
    segment(disc_options(video, out), method=Unlike())
    before = content(out)
    monkeypatch.setattr(av, "open", lambda _: pytest.fail("decoded again"))
    assert segment(disc_options(video, out, resume=True), method=Unlike()).segmented == 4
    assert content(out) == before


def test_an_interrupted_video_continues_with_its_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video, out = write_video(tmp_path / "clip.mp4", 4), tmp_path / "out"
    with pytest.raises(Interrupted):
        segment(disc_options(video, out), StopsAfter(2), method=Unlike())
    monkeypatch.setattr(av, "open", lambda _: pytest.fail("decoded again"))
    again = segment(disc_options(video, out, resume=True), method=Unlike())
    assert (again.segmented, len(content(out / "frames"))) == (4, 4)


@pytest.mark.parametrize("interrupted", [False, True])
def test_resume_refuses_another_video_of_that_name(tmp_path: Path, interrupted: bool) -> None:
    video, out = write_video(tmp_path / "clip.mp4", 4), tmp_path / "out"
    with contextlib.suppress(Interrupted):
        segment(disc_options(video, out), StopsAfter(2) if interrupted else None, method=Unlike())
    before = content(out)
    write_video(video, 2)
    with pytest.raises(UsageError, match=r"these settings changed: video\.bytes: \d+ -> \d+, video\.mtime_ns"):
        segment(disc_options(video, out, resume=True), method=Unlike())
    assert {name: one for name, one in content(out).items() if name != ".lock"} == before
    outcome = segment(disc_options(video, out, force=True), method=Unlike())
    assert (outcome.images, sorted(content(out / "frames"))) == (2, ["clip/000000.png", "clip/000001.png"])


def test_a_video_that_fails_leaves_the_older_result_whole(tmp_path: Path) -> None:
    video, out = write_video(tmp_path / "clip.mp4", 3), tmp_path / "out"
    segment(disc_options(video, out), method=Unlike())
    before = content(out)
    (tmp_path / "bad.mp4").write_bytes(video.read_bytes()[:40])
    with pytest.raises(DataError, match="cannot be read as a video"):
        segment(disc_options(tmp_path / "bad.mp4", out, force=True), method=Unlike())
    with pytest.raises(Interrupted):
        segment(disc_options(write_video(tmp_path / "new.mp4", 4), out, force=True), StopsAfter(2), method=Unlike())
    assert {name: one for name, one in content(out).items() if not name.startswith(".")} == before


def test_frames_that_are_segmented_again_stay(tmp_path: Path) -> None:
    video, out = write_video(tmp_path / "clip.mp4", 3), tmp_path / "out"
    segment(disc_options(video, out), method=Unlike())
    segment(disc_options(out / "frames" / "clip", out, force=True), method=Unlike())
    assert len(content(out / "frames")) == 3


def test_files_that_are_no_video_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no video")
    with pytest.raises(DataError, match="cannot be read as a video"):
        unpack(tmp_path / "a.mp4", tmp_path / "frames")
    with pytest.raises(DataError, match=r"none\.mp4 cannot be read as a video .no such file"):
        segment(disc_options(tmp_path / "none.mp4", tmp_path / "out"))
    options = disc_options(tmp_path / "a.mp4", tmp_path / "out")
    with pytest.raises(UsageError, match=r"--root .*: the frames of a video are named by their number"):
        segment(replace(options, read=replace(options.read, root=str(tmp_path))))
    assert not (tmp_path / "out").exists()


def test_a_first_mask_has_to_fit(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    Image.fromarray(frame(0)).save(tmp_path / "in" / "0.png")
    for pixels, words in ((np.ones((9, 9)), "has 9x9 px, its frame"), (np.zeros(SIZE), "is empty")):
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "first.png")
        with pytest.raises(DataError, match=words):
            segment(disc_options(tmp_path / "in", tmp_path / "out", propagate=str(tmp_path / "first.png")))


def test_frames_are_counted_not_spelt() -> None:
    names = ["./f10.png", "./f2.png", "./f1.png", "./a9b10.png", "./a9b9.png"]
    assert [names[place] for place in natural_order(names)] == [names[n] for n in (4, 3, 2, 1, 0)]


@pytest.mark.parametrize("kind", ["palette", "colours", "deep"])
def test_a_first_mask_of_any_kind_labels_each_object(tmp_path: Path, kind: str) -> None:
    labels = np.zeros(SIZE, np.uint8)
    labels[5:40, 5:40], labels[5:40, 60:110], labels[55:90, 30:90] = 1, 2, 3
    colours = np.array([[0, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)
    path = tmp_path / "first.png"
    if kind == "palette":
        image = Image.frombytes("P", SIZE[::-1], labels.tobytes())
        image.putpalette(colours.reshape(-1).tolist())
        image.save(path)
    elif kind == "colours":
        Image.fromarray(colours[labels]).save(path)
    else:
        path = path.with_suffix(".tif")
        Image.fromarray(labels.astype(np.int32) * 70_000).save(path)
    (tmp_path / "in").mkdir()
    Image.fromarray(colours[labels]).save(tmp_path / "in" / "0.png")
    segment(disc_options(tmp_path / "in", tmp_path / "out", propagate=str(path)))
    found = np.asarray(Image.open(tmp_path / "out" / "masks" / "0.png"))
    assert [int(np.median(found[labels == label])) for label in (1, 2, 3)] == [1, 2, 3]
    assert (found[labels == 0] == 0).mean() > 0.9


def test_the_first_frame_is_read_in_the_channels_of_the_command(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "0.tif", noise(20, 30, 5), planarconfig="contig", photometric="minisblack")
    Image.fromarray(np.full((20, 30), 3, np.uint8)).save(tmp_path / "first.png")
    reader = Reader(settings(channels=(4, 0, 1), roi="2,2,5,5"), 32)
    mask = first_labels(tmp_path / "first.png", str(tmp_path / "0.tif"), reader)
    assert mask.labels_HW.shape == (20, 30)
    assert mask.note.endswith("the labels 3 of first.png become 1")
    with pytest.raises(DataError, match=r"the first frame, .*0\.tif, cannot be read: 5 channels"):
        first_labels(tmp_path / "first.png", str(tmp_path / "0.tif"), Reader(settings(), 32))
