import pickle
from pathlib import Path

import pytest
import torch

from dinocli.engine.checkpoint import Checkpointer, load_checkpoint, save_checkpoint
from dinocli.errors import WeightsError

CPU = torch.device("cpu")


class Payload:
    """Executes code when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return (Path.touch, (self.mark,))


def test_tensors_and_plain_data_come_back(tmp_path: Path) -> None:
    payload = {"step": 3, "weights": {"a": torch.arange(3.0)}, "probe_results": [{"ranks": [1.0, 0.5]}], "scaler": {}}
    save_checkpoint(tmp_path / "last.pt", payload)
    back = load_checkpoint(tmp_path / "last.pt", CPU)
    assert torch.equal(back.pop("weights")["a"], torch.arange(3.0))
    assert back == {key: value for key, value in payload.items() if key != "weights"}
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"], "nothing temporary is left"


@pytest.mark.parametrize("protocol", ["torch", "pickle"])
def test_code_in_a_checkpoint_is_not_run(tmp_path: Path, protocol: str) -> None:
    mark, path = tmp_path / "mark", tmp_path / "last.pt"
    if protocol == "torch":
        torch.save({"step": Payload(mark)}, path)
    else:
        path.write_bytes(pickle.dumps({"step": Payload(mark)}))
    with pytest.raises(WeightsError, match=r"cannot read the checkpoint .*last\.pt") as caught:
        load_checkpoint(path, CPU)
    assert "\n" not in str(caught.value)
    assert not mark.exists()


@pytest.mark.parametrize("content", [b"", b"no checkpoint", None])
def test_error_names_a_damaged_or_missing_checkpoint(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "last.pt").write_bytes(content)
    with pytest.raises(WeightsError, match=r"last\.pt.*delete it to start again") as caught:
        load_checkpoint(tmp_path / "last.pt", CPU)
    assert "\n" not in str(caught.value)


def test_a_save_that_fails_keeps_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    save_checkpoint(path, {"step": 1})
    with pytest.raises((TypeError, AttributeError, pickle.PicklingError)):
        save_checkpoint(path, {"step": 2, "broken": lambda: None})
    assert load_checkpoint(path, CPU) == {"step": 1}
    assert [other.name for other in tmp_path.iterdir()] == ["last.pt"]


def test_saves_are_due_by_steps_or_by_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("dinocli.engine.checkpoint.time.monotonic", lambda: clock[0])
    checkpointer = Checkpointer(tmp_path, every=5, minutes=1.0, writes=True)
    assert [step for step in range(1, 11) if checkpointer.due(step)] == [5, 10]
    clock[0] += 61
    assert checkpointer.due(7)
