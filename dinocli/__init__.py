"""Continue DINO training on your own images, then embed, cluster, search and segment them.

Each command is one function: `train`, `embed`, `cluster`, `classify`, `segment`, `search`, `evaluate` and `export` take
an options object (`TrainOptions`, `EmbedOptions`, ...). `load` returns a model that embeds arrays, images and paths;
`load_like` the one that made a feature file. `MultiCropViews` creates the augmented views of a recipe for another
training loop. Nothing is printed: warnings and findings go to the logger `dinocli`, or to a `ProgressReporter` given as
second argument. Names are imported on first use (PEP 562), so `import dinocli` does not import torch.

Example:
    >>> import dinocli
    >>> recipe = dinocli.load_recipe(["gentle", "grey"])
    >>> result = dinocli.train(dinocli.TrainOptions(("images",), recipe, out="runs/mine", force=True))
    >>> model = dinocli.load("runs/mine")
    >>> features_ND = model.embed(["images/a/0.png", "images/b/0.png"])
    >>> len(features_ND)
    2
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

if TYPE_CHECKING:
    from dinocli.artifacts.feature_file import FeatureFile, open_features
    from dinocli.artifacts.feature_model import FeatureModel, load, load_like
    from dinocli.config.load import load_recipe
    from dinocli.config.preprocess import Preprocess
    from dinocli.engine.multicrop_views import MultiCropViews
    from dinocli.errors import DataError, DinocliError, RecipeError, TrainingStopped, UsageError, WeightsError
    from dinocli.progress import ProgressReporter
    from dinocli.tasks.classify.classify import classify
    from dinocli.tasks.classify.classify_options import ClassifyOptions
    from dinocli.tasks.cluster.cluster import cluster
    from dinocli.tasks.cluster.cluster_options import ClusterOptions
    from dinocli.tasks.embed.embed import embed
    from dinocli.tasks.embed.embed_options import EmbedOptions
    from dinocli.tasks.evaluate.evaluate import evaluate
    from dinocli.tasks.evaluate.evaluate_options import EvaluateOptions
    from dinocli.tasks.export.export import export
    from dinocli.tasks.export.export_options import ExportOptions
    from dinocli.tasks.inputs import ReadOptions
    from dinocli.tasks.search.search import search
    from dinocli.tasks.search.search_options import SearchOptions
    from dinocli.tasks.segment.segment import segment
    from dinocli.tasks.segment.segment_options import MaskOutputs, SegmentOptions
    from dinocli.tasks.train.train import train
    from dinocli.tasks.train.train_options import TrainOptions

_EXPORTS = {
    "dinocli.config.load": ("load_recipe",),
    "dinocli.config.preprocess": ("Preprocess",),
    "dinocli.errors": ("DataError", "DinocliError", "RecipeError", "TrainingStopped", "UsageError", "WeightsError"),
    "dinocli.progress": ("ProgressReporter",),
    "dinocli.tasks.classify.classify": ("classify",),
    "dinocli.tasks.classify.classify_options": ("ClassifyOptions",),
    "dinocli.tasks.cluster.cluster": ("cluster",),
    "dinocli.tasks.cluster.cluster_options": ("ClusterOptions",),
    "dinocli.tasks.embed.embed": ("embed",),
    "dinocli.tasks.embed.embed_options": ("EmbedOptions",),
    "dinocli.tasks.evaluate.evaluate": ("evaluate",),
    "dinocli.tasks.evaluate.evaluate_options": ("EvaluateOptions",),
    "dinocli.tasks.export.export": ("export",),
    "dinocli.tasks.export.export_options": ("ExportOptions",),
    "dinocli.artifacts.feature_file": ("FeatureFile", "open_features"),
    "dinocli.artifacts.feature_model": ("FeatureModel", "load", "load_like"),
    "dinocli.tasks.inputs": ("ReadOptions",),
    "dinocli.engine.multicrop_views": ("MultiCropViews",),
    "dinocli.tasks.search.search": ("search",),
    "dinocli.tasks.search.search_options": ("SearchOptions",),
    "dinocli.tasks.segment.segment": ("segment",),
    "dinocli.tasks.segment.segment_options": ("MaskOutputs", "SegmentOptions"),
    "dinocli.tasks.train.train": ("train",),
    "dinocli.tasks.train.train_options": ("TrainOptions",),
}
_MODULE_OF = {name: module for module, names in _EXPORTS.items() for name in names}

__all__ = [
    "ClassifyOptions",
    "ClusterOptions",
    "DataError",
    "DinocliError",
    "EmbedOptions",
    "EvaluateOptions",
    "ExportOptions",
    "FeatureFile",
    "FeatureModel",
    "MaskOutputs",
    "MultiCropViews",
    "Preprocess",
    "ProgressReporter",
    "ReadOptions",
    "RecipeError",
    "SearchOptions",
    "SegmentOptions",
    "TrainOptions",
    "TrainingStopped",
    "UsageError",
    "WeightsError",
    "__version__",
    "classify",
    "cluster",
    "embed",
    "evaluate",
    "export",
    "load",
    "load_like",
    "load_recipe",
    "open_features",
    "search",
    "segment",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'dinocli' has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
