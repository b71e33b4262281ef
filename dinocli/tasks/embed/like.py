"""`embed --like feats.npy`: everything that determines a row is taken from an earlier feature file."""

from dataclasses import fields, replace
from typing import Any

from dinocli.artifacts.feature_file import open_features
from dinocli.errors import UsageError, WeightsError
from dinocli.files import user_path
from dinocli.tasks.embed.embed_options import EmbedOptions
from dinocli.tasks.inputs import ReadOptions

TAKEN = ("tokens", "layers", "keep_aspect", "normalize", "dtype", "tile")
"""Options that `feats.json` records under their own names, but for `normalize`."""


def following(options: EmbedOptions) -> EmbedOptions:
    """Return the options with those of the feature file in their places; as they are without `like`.

    Raises:
        UsageError: An option says otherwise than the file.
        WeightsError: The file cannot be read, or does not say how it was made.
    """
    if not options.like:
        return options
    meta = open_features(user_path(options.like)).meta
    if not meta.get("weights"):
        raise WeightsError(f"{options.like} does not say which weights made it; name a file that `dinocli embed` made")
    stored = {"tokens": "pooled", "layers": 1, "keep_aspect": False, "tile": "", "dtype": "float32"} | meta
    stored["normalize"] = meta.get("normalize", meta.get("normalized", False))
    usual = {field.name: field.default for field in fields(EmbedOptions)}
    for name in TAKEN:
        given = getattr(options, name)
        if given not in (usual[name], stored[name]):
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
    taken: dict[str, Any] = {name: stored[name] for name in TAKEN}
    return replace(options, weights=meta["weights"]["source"], model=meta["weights"]["name"], **taken)
