"""Continue DINO training on your own images, and use the features.

The public names load on first use (PEP 562), so that `import dinocli` costs nothing: neither torch nor timm is imported
until one of them is touched.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from dinocli.config.load import load_recipe
    from dinocli.errors import DataError, DinocliError, RecipeError, TrainingStopped, UsageError, WeightsError
    from dinocli.tasks.embed.embed import embed
    from dinocli.tasks.embed.embed_options import EmbedOptions
    from dinocli.tasks.train.setup import TrainOptions
    from dinocli.tasks.train.train import train

_PUBLIC = {
    "DataError": "dinocli.errors",
    "DinocliError": "dinocli.errors",
    "EmbedOptions": "dinocli.tasks.embed.embed_options",
    "TrainOptions": "dinocli.tasks.train.setup",
    "RecipeError": "dinocli.errors",
    "TrainingStopped": "dinocli.errors",
    "UsageError": "dinocli.errors",
    "WeightsError": "dinocli.errors",
    "embed": "dinocli.tasks.embed.embed",
    "load_recipe": "dinocli.config.load",
    "train": "dinocli.tasks.train.train",
}

__all__ = [
    "DataError",
    "DinocliError",
    "EmbedOptions",
    "RecipeError",
    "TrainOptions",
    "TrainingStopped",
    "UsageError",
    "WeightsError",
    "__version__",
    "embed",
    "load_recipe",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'dinocli' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
