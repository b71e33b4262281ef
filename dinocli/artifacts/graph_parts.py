"""Load the parts of an exported graph: weights with preprocessing, fitted features and classifier."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from dinocli.artifacts.export_source import open_source
from dinocli.artifacts.feature_file import FITTED_SUFFIX, open_features, sidecar
from dinocli.artifacts.feature_graph import FeatureGraph
from dinocli.config.preprocess import Preprocess
from dinocli.engine.precision import graph_note
from dinocli.engine.rare_features import RareFeatures
from dinocli.errors import UsageError, WeightsError
from dinocli.files import user_path
from dinocli.models.token_kinds import FITTED
from dinocli.progress import ProgressReporter
from dinocli.quality.classifier_file import SavedClassifier, load_classifier


def open_graph(
    weights: str,
    model: str,
    reporter: ProgressReporter,
    *,
    with_preprocessing: bool = False,
    like: str = "",
    classifier: str = "",
) -> FeatureGraph:
    """Load the parts of a graph.

    Args:
        weights: A run, or weights as for training; empty for those of `like` or `classifier`, else of the newest run.
        model: timm name, for a bare state dict.
        reporter: Receives the chosen weights.
        with_preprocessing: As in `FeatureGraph`.
        like: Feature file with fitted features, or empty.
        classifier: File of `classify --save`, which brings the features that it takes; or empty.

    Raises:
        DinocliError: A file cannot be read, or cannot be part of a graph.
    """
    saved = load_classifier(user_path(classifier)) if classifier else None
    metadata = saved.features if saved else open_features(user_path(like)).meta if like else {}
    of = classifier or like
    if of and not weights and not metadata.get("weights", {}).get("source"):
        raise WeightsError(f"{of} does not say which weights made its features; name them")
    for key in ("keep_aspect", "tile"):
        if metadata.get(key):
            raise WeightsError(f"{of} is of features with --{key.replace('_', '-')}: a graph takes whole squares")
    if like and metadata.get("tokens") not in FITTED:
        raise UsageError(f"--like {like} holds {metadata.get('tokens')} features: give a file of {' or '.join(FITTED)}")
    known = metadata.get("weights", {}) if of else {}
    source = open_source(
        weights or known.get("source", ""),
        model if weights else known.get("name", ""),
        reporter,
        pool=known.get("pool", "auto"),
    )
    if known.get("sha256", source.info.sha256) != source.info.sha256:
        raise WeightsError(f"{of} was made with other weights; leave out the weights to take its own")
    if metadata.get("preprocess"):
        source = replace(source, preprocess=Preprocess.from_dict(metadata["preprocess"]))
    if note := graph_note(of, metadata.get("precision", "")):
        reporter.warn(note)
    rare = RareFeatures.load(sidecar(user_path(like), FITTED_SUFFIX)) if like else None
    if saved and saved.fitted_state:
        rare = _fitted(saved)
    return FeatureGraph(source, with_preprocessing, saved, rare)


def _fitted(saved: SavedClassifier) -> RareFeatures:
    with TemporaryDirectory() as folder:
        path = Path(folder, f"classifier{FITTED_SUFFIX}")
        path.write_bytes(saved.fitted_state)
        return RareFeatures.load(path)
