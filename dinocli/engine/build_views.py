"""Augmentation of a recipe: its `views` section turned into `MultiCrop`, for training, probes and other loops."""

from dataclasses import replace

from dinocli.augment.multicrop import MultiCrop
from dinocli.augment.view_pipeline import ViewSpec
from dinocli.config.preprocess import Preprocess
from dinocli.config.recipe import Recipe, Views


def view_specs(views: Views) -> tuple[ViewSpec, ViewSpec, ViewSpec]:
    """Return the parameters of global view 1, global view 2 and local views."""
    keys = ("ratio", "hflip", "vflip", "rot90", "jitter", "brightness", "contrast", "saturation", "hue", "grayscale")
    shared = {key: getattr(views, key) for key in (*keys, "blur_sigma")}
    specs = []
    for number, kind in enumerate(("global", "global", "local")):
        crop = {"size": int(getattr(views, f"{kind}_size")), "scale": getattr(views, f"{kind}_scale")}
        specs.append(ViewSpec(**crop, **shared, blur=views.blur[number], solarize=views.solarize[number]))
    return specs[0], specs[1], specs[2]


def build_views(recipe: Recipe, preprocess: Preprocess) -> MultiCrop:
    """Build the multi-crop augmentation of a run."""
    global_1, global_2, local = view_specs(recipe.views)
    return _multicrop([global_1, global_2, *[local] * int(recipe.views.local_count)], recipe, preprocess)


def probe_crop(recipe: Recipe, preprocess: Preprocess) -> MultiCrop:
    """Build the crop of a probe: the recipe's first global view at the evaluation size, without photometric operations.

    Training for invariance to colour improves retrieval of recoloured crops, even where colour is informative.
    """
    view = view_specs(recipe.views)[0]
    crop = replace(view, size=preprocess.size, jitter=0.0, grayscale=0.0, blur=0.0, solarize=0.0)
    return _multicrop([crop], recipe, preprocess)


def _multicrop(views: list[ViewSpec], recipe: Recipe, preprocess: Preprocess) -> MultiCrop:
    return MultiCrop(views, mean=preprocess.mean, std=preprocess.std, grey=preprocess.grey, seed=recipe.run.seed)
