"""The speed of a machine is measured in real steps, and the sentence about it names the slowest part."""

import pytest

from dinocli.engine.step_profile import WAIT
from dinocli.tasks.train import machine_speed
from dinocli.tasks.train.machine_speed import MachineSpeed, bottleneck, measure_speed
from tests.networks import FOUR_BLOCKS


@pytest.fixture(scope="module")
def speed() -> MachineSpeed:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("IMAGES", 4), ("BATCH", 2), ("PROFILED", 4)):
            patch.setattr(machine_speed, name, {"cpu": value})
        patch.setattr(machine_speed, "SIDES", (48, 64))
        return measure_speed(FOUR_BLOCKS, "cpu")


def test_every_part_is_timed(speed: MachineSpeed) -> None:
    assert min(speed.decode, speed.multicrop, speed.embed, speed.train) > 0
    assert [*speed.parts] == [WAIT, "multi-crop", "teacher", "student", "loss", "backward", "optimizer", "average"]
    assert speed.multicrop == pytest.approx(2 / speed.parts["multi-crop"], rel=0.01), "two images a batch"
    assert (speed.model, speed.batch_size) == (FOUR_BLOCKS, 2)
    assert speed.bottleneck.startswith(bottleneck(speed.decode, speed.train, speed.parts).partition(",")[0])


def test_the_table_has_a_line_for_each(speed: MachineSpeed) -> None:
    first, *lines, last = speed.table()
    assert first.startswith(FOUR_BLOCKS)
    assert last == f"bottleneck: {speed.bottleneck}"
    assert [line[:17].strip() for line in lines[:4]] == ["decoding", "multi-crop", "features (embed)", "training"]
    shares = [float(line.split()[-1].rstrip("%")) for line in lines[4:]]
    assert len(shares) == len(speed.parts)
    assert sum(shares) == pytest.approx(100, abs=0.5)


@pytest.mark.parametrize(
    ("decode", "parts", "words"),
    [
        (900, {WAIT: 0.1, "multi-crop": 0.2, "backward": 0.7}, "the backward, 70% of a step"),
        (900, {WAIT: 0.1, "multi-crop": 0.5, "backward": 0.4}, "the multi-crop, 50% of a step; fewer or smaller views"),
        (10, {WAIT: 0.6, "backward": 0.4}, "waiting for images; the first pass over a folder waits for decoding (10"),
    ],
)
def test_the_slowest_part_is_named(decode: float, parts: dict[str, float], words: str) -> None:
    assert bottleneck(decode, 100, parts).startswith(words)
