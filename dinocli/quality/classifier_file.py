"""A classifier on the disk, with all that a later image has to go through before it: one safetensors file.

Shapes: M labelled images, D width, C classes.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save

from dinocli.files import write_whole
from dinocli.quality.classifiers import METHODS, Candidate, Classifier
from dinocli.stored import Stored, parse_json, reading

KIND = "dinocli classifier"
_AGAIN = "make it again with `dinocli classify --save`"


@dataclass(frozen=True)
class SavedClassifier:
    """A classifier, and how its features are made.

    Args:
        classifier: Fitted and calibrated.
        confidence_M: Of the labelled images, by classifiers that had not seen them; from it a threshold for any
            precision can be chosen later. Empty where nothing could be cross-validated.
        right_M: Whether those predictions were right.
        truth_M: Numbers of their classes.
        precision: That the threshold was chosen for; 0 where every prediction is accepted.
        features: What `feats.json` said of the features, as far as it determines a row; empty if unknown.
        fitted_state: Contents of the file that the features were fitted to, empty where they need none.
    """

    classifier: Classifier
    confidence_M: NDArray[np.float32]
    right_M: NDArray[np.bool_]
    truth_M: NDArray[np.int64]
    precision: float = 0.0
    features: dict[str, Any] = field(default_factory=dict)
    fitted_state: bytes = b""

    def check(self) -> None:
        """Raise a `ValueError` if the tensors do not belong together."""
        found = self.classifier
        width, classes, rows = len(found.mean_D), len(found.classes), len(found.class_M)
        if found.candidate.method == "knn":
            whole = found.rows_MD.shape == (rows, width) and rows >= found.candidate.setting
            whole = whole and bool(np.isin(found.class_M, range(classes)).all())
        else:
            whole = found.weight_CD.shape == (classes, width) and found.bias_C.shape == (classes,)
        if not whole or not len(self.confidence_M) == len(self.right_M) == len(self.truth_M):
            raise ValueError("its tensors do not belong together")
        if not np.isin(self.truth_M, range(classes)).all():
            raise ValueError("it counts classes that it has no names for")


class _Head(Stored):
    """The texts of the file."""

    kind: str
    method: str
    setting: float
    temperature: float
    precision: float
    classes: list[str]
    features: dict[str, Any]


def save_classifier(path: Path, saved: SavedClassifier) -> None:
    """Write the file."""
    found = saved.classifier
    tensors: dict[str, NDArray[Any]] = {
        "mean_D": found.mean_D,
        "weight_CD": found.weight_CD,
        "bias_C": found.bias_C,
        "rows_MD": found.rows_MD,
        "class_M": found.class_M,
        "confidence_M": saved.confidence_M.astype(np.float32),
        "right_M": saved.right_M.astype(np.uint8),
        "truth_M": saved.truth_M,
        "fitted_state": np.frombuffer(saved.fitted_state, np.uint8),
    }
    head = _Head(
        kind=KIND,
        method=found.candidate.method,
        setting=found.candidate.setting,
        temperature=found.temperature,
        precision=saved.precision,
        classes=found.classes,
        features=saved.features,
    )
    data = save(
        {key: np.ascontiguousarray(value) for key, value in tensors.items() if value.size},
        {"about": head.model_dump_json()},
    )
    write_whole(path, data)


def load_classifier(path: Path) -> SavedClassifier:
    """Read what `save_classifier` wrote.

    Raises:
        WeightsError: It is not there, damaged, or something else.
    """
    with reading(f"{path} as a classifier", _AGAIN):
        with safe_open(path, "np") as file:
            about = dict(file.metadata() or {}).get("about", "{}")
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no mapping)
        head = _Head.model_validate(parse_json(about, _Head))
        if head.kind != KIND or head.method not in METHODS or len(head.classes) < 2 or not head.temperature > 0:
            raise ValueError("it is of another kind")
        bare = {"confidence_M": np.float32, "right_M": np.uint8, "truth_M": np.int64, "fitted_state": np.uint8}
        more = {key: tensors.pop(key, np.empty(0, kind)) for key, kind in bare.items()}
        fitted_state = more.pop("fitted_state").tobytes()
        more["right_M"] = more["right_M"].astype(np.bool_)
        classifier = Classifier(
            Candidate(head.method, head.setting), head.classes, temperature=head.temperature, **tensors
        )
        saved = SavedClassifier(
            classifier, **more, precision=head.precision, features=head.features, fitted_state=fitted_state
        )
        saved.check()
    return saved
