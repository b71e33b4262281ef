from collections.abc import Mapping

import pytest
from torch import Tensor

from dinocli.models.checkpoint_model import guess_name
from tests.networks import TWINS, deepened


@pytest.fixture
def twins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recognise the tensors of two blocks as those of the whole network, and build the network of two blocks."""

    def guess(tensors: Mapping[str, Tensor]) -> str:
        two = any(key.startswith("blocks.1.") for key in tensors) and "blocks.2.norm1.weight" not in tensors
        return TWINS.get(guess_name(deepened(tensors)), "") if two else guess_name(tensors)

    monkeypatch.setattr("dinocli.models.weights.guess_name", guess)
