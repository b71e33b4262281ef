from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dinocli.errors import WeightsError
from dinocli.quality.rarity_file import load_banks, save_banks
from tests.quality.test_rarity import built, maps


def test_bank_file_round_trip(tmp_path: Path) -> None:
    x, path = maps(), tmp_path / "bank.safetensors"
    bank, extra = built(x), torch.arange(6.0).view(2, 3)
    save_banks(
        path, {"coarse": built(maps(seed=5)), "blocks.5": bank}, others={"axes": extra}, metadata={"weights": "abc"}
    )
    banks, others, about = load_banks(path)
    assert set(banks) == {"coarse", "blocks.5"}
    for name, tensor in bank.tensors().items():
        assert getattr(banks["blocks.5"], name).equal(tensor), name
    assert others["axes"].equal(extra)
    assert about == {"weights": "abc"}


@pytest.mark.parametrize("content", [b"", b"not a bank", None])
def test_a_file_that_is_no_bank_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "bank.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(WeightsError, match="cannot be read as a memory bank"):
        load_banks(path)


def test_other_tensors_are_no_bank(tmp_path: Path) -> None:
    path = tmp_path / "bank.safetensors"
    save_banks(path, {}, others={"axes": torch.ones(2)})
    with pytest.raises(WeightsError, match=r"cannot be read as a memory bank .it holds none"):
        load_banks(path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("patches_MD", torch.ones(3, 4)),
        ("mean_D", torch.tensor([torch.nan])),
        ("std_D", torch.zeros(12)),
        ("image_M", torch.zeros(2, dtype=torch.int64)),
        ("spread", torch.ones(2)),
    ],
)
def test_tensors_that_do_not_fit_each_other_are_refused(tmp_path: Path, name: str, value: torch.Tensor) -> None:
    path = tmp_path / "bank.safetensors"
    save_banks(path, {"coarse": replace(built(maps()), **{name: value})})
    with pytest.raises(WeightsError, match="cannot be read as a memory bank"):
        load_banks(path)
