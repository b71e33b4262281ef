"""The function that stands in for one of PyTorch's compiler; `tests/cli/test_offline.py` has a fresh interpreter."""

import sys

import pytest
import torch._dynamo.utils

from dinocli.models.deferred_dynamo import _StandIn, is_compile_supported


def test_the_answer_is_that_of_the_compiler() -> None:
    assert is_compile_supported("cpu") == torch._dynamo.utils.is_compile_supported("cpu")


def test_whatever_else_is_imported_comes_from_the_real_module(monkeypatch: pytest.MonkeyPatch) -> None:
    real, name = torch._dynamo.utils, "torch._dynamo.utils"
    stand_in = _StandIn(name)
    monkeypatch.setitem(sys.modules, name, stand_in)
    assert stand_in.is_compile_supported is is_compile_supported
    assert not hasattr(stand_in, "__path__")
    monkeypatch.setitem(sys.modules, name, real)
    assert stand_in.counters is real.counters
