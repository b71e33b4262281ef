"""Save and load a classifier with the description of its features: one safetensors file.

Shapes: M labelled images, D width, C classes.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save

from dinocli.files import write_atomic
from dinocli.quality.classifiers import METHODS, Candidate, Classifier
from dinocli.stored import Stored, parse_json, reading

KIND = "dinocli classifier"
_REMEDY = "make it again with `dinocli classify --save`"


@dataclass(frozen=True)
class SavedClassifier:
    """A classifier, its out-of-fold predictions, and how its features are computed.

    Args:
        classifier: Fitted and calibrated.
        confidence_M: Out-of-fold confidence of the labelled images, from which a threshold for any precision can be
            computed later. Empty without cross-validation.
        right_M: Whether those predictions were correct.
        truth_M: Class indices of the labelled images.
        precision: Requested precision of the threshold; 0 accepts every prediction.
        features: Entries of `feats.json` that determine a row; empty if unknown.
        fitted_state: Contents of the file with the fitted state of the features; empty where they need none.
    """

    classifier: Classifier
    confidence_M: NDArray[np.float32]
    right_M: NDArray[np.bool_]
    truth_M: NDArray[np.int64]
    precision: float = 0.0
    features: dict[str, Any] = field(default_factory=dict)
    fitted_state: bytes = b""

    def check(self) -> None:
        """Raise `ValueError` if shapes or class indices of the tensors are inconsistent."""
        model = self.classifier
        width, classes, rows = len(model.mean_D), len(model.classes), len(model.class_M)
        if model.candidate.method == "knn":
            consistent = model.rows_MD.shape == (rows, width) and rows >= model.candidate.setting
            consistent = consistent and bool(np.isin(model.class_M, range(classes)).all())
        else:
            consistent = model.weight_CD.shape == (classes, width) and model.bias_C.shape == (classes,)
        if not consistent or not len(self.confidence_M) == len(self.right_M) == len(self.truth_M):
            raise ValueError("its tensors do not belong together")
        if not np.isin(self.truth_M, range(classes)).all():
            raise ValueError("it has class numbers without a class name")


class _Metadata(Stored):
    """Metadata of the file, as JSON."""

    kind: str
    method: str
    setting: float
    temperature: float
    precision: float
    classes: list[str]
    features: dict[str, Any]


def save_classifier(path: Path, saved: SavedClassifier) -> None:
    """Write a classifier to a safetensors file."""
    model = saved.classifier
    tensors: dict[str, NDArray[Any]] = {
        "mean_D": model.mean_D,
        "weight_CD": model.weight_CD,
        "bias_C": model.bias_C,
        "rows_MD": model.rows_MD,
        "class_M": model.class_M,
        "confidence_M": saved.confidence_M.astype(np.float32),
        "right_M": saved.right_M.astype(np.uint8),
        "truth_M": saved.truth_M,
        "fitted_state": np.frombuffer(saved.fitted_state, np.uint8),
    }
    head = _Metadata(
        kind=KIND,
        method=model.candidate.method,
        setting=model.candidate.setting,
        temperature=model.temperature,
        precision=saved.precision,
        classes=model.classes,
        features=saved.features,
    )
    data = save(
        {key: np.ascontiguousarray(value) for key, value in tensors.items() if value.size},
        {"about": head.model_dump_json()},
    )
    write_atomic(path, data)


def load_classifier(path: Path) -> SavedClassifier:
    """Read what `save_classifier` wrote.

    Raises:
        WeightsError: The file is missing, damaged or of another kind.
    """
    with reading(f"{path} as a classifier", _REMEDY):
        with safe_open(path, "np") as file:
            metadata = dict(file.metadata() or {}).get("about", "{}")
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no mapping)
        head = _Metadata.model_validate(parse_json(metadata, _Metadata))
        if head.kind != KIND or head.method not in METHODS or len(head.classes) < 2 or not head.temperature > 0:
            raise ValueError("it is of another kind")
        dtypes = {"confidence_M": np.float32, "right_M": np.uint8, "truth_M": np.int64, "fitted_state": np.uint8}
        extras = {key: tensors.pop(key, np.empty(0, dtype)) for key, dtype in dtypes.items()}
        fitted_state = extras.pop("fitted_state").tobytes()
        extras["right_M"] = extras["right_M"].astype(np.bool_)
        classifier = Classifier(
            Candidate(head.method, head.setting), head.classes, temperature=head.temperature, **tensors
        )
        saved = SavedClassifier(
            classifier, **extras, precision=head.precision, features=head.features, fitted_state=fitted_state
        )
        saved.check()
    return saved
