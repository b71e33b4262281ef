"""`embed --like feats.npy`: use weights, preprocessing and tokens of an earlier feature file."""

from dataclasses import fields, replace
from typing import Any

from dinocli.artifacts.feature_file import open_features
from dinocli.errors import UsageError, WeightsError
from dinocli.files import user_path
from dinocli.tasks.embed.embed_options import EmbedOptions
from dinocli.tasks.inputs import ReadOptions

STORED_OPTIONS = ("tokens", "layers", "keep_aspect", "normalize", "dtype", "tile")
"""Options taken from `feats.json`, where they have the same names."""


def following(options: EmbedOptions) -> EmbedOptions:
    """Return the options with those of the feature file `like`; unchanged without it.

    Raises:
        UsageError: An option contradicts the file.
        WeightsError: The file cannot be read, or does not record its weights.
    """
    if not options.like:
        return options
    meta = open_features(user_path(options.like)).meta
    if not meta.get("weights"):
        raise WeightsError(f"{options.like} does not say which weights made it; name a file that `dinocli embed` made")
    stored = {"tokens": "pooled", "layers": 1, "keep_aspect": False, "tile": "", "dtype": "float32"} | meta
    stored["normalize"] = meta.get("normalize", meta.get("normalized", False))
    defaults = {field.name: field.default for field in fields(EmbedOptions)}
    for name in STORED_OPTIONS:
        given = getattr(options, name)
        if given not in (defaults[name], stored[name]):
            option = f"--{name.replace('_', '-')} {given}"
            raise UsageError(f"{option} is not that of {options.like} ({stored[name]}): leave it out, or --like")
    others = [name for name in ("weights", "model", "size") if getattr(options, name)]
    others += [
        name
        for name in ("range", "channels", "page", "z", "roi")
        if getattr(options.read, name) != getattr(ReadOptions(), name)
    ]
    if others:
        raise UsageError(f"--{others[0]} and --like both say how images become features: leave one of them out")
    values: dict[str, Any] = {name: stored[name] for name in STORED_OPTIONS}
    return replace(options, weights=meta["weights"]["source"], model=meta["weights"]["name"], **values)
