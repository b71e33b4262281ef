"""Shell completion: recipes, settings, runs and common backbones. Nothing here imports torch."""

from pathlib import Path

BACKBONES = (
    "vit_small_patch16_224.dino",
    "vit_base_patch16_224.dino",
    "vit_small_patch8_224.dino",
    "vit_base_patch8_224.dino",
    "vit_small_patch14_dinov2.lvd142m",
    "vit_base_patch14_dinov2.lvd142m",
    "vit_large_patch14_dinov2.lvd142m",
    "vit_small_patch14_reg4_dinov2.lvd142m",
    "vit_base_patch14_reg4_dinov2.lvd142m",
    "vit_small_patch16_dinov3.lvd1689m",
    "vit_base_patch16_dinov3.lvd1689m",
    "vit_large_patch16_dinov3.lvd1689m",
    "convnext_tiny.dinov3_lvd1689m",
    "convnext_small.dinov3_lvd1689m",
    "vit_tiny_patch16_224.augreg_in21k_ft_in1k",
    "vit_small_patch16_224.augreg_in21k_ft_in1k",
    "deit3_small_patch16_224.fb_in22k_ft_in1k",
    "convnext_tiny.fb_in22k_ft_in1k",
    "convnextv2_nano.fcmae_ft_in22k_in1k",
    "swin_tiny_patch4_window7_224.ms_in1k",
    "efficientnet_b0.ra_in1k",
    "tf_efficientnet_lite0.in1k",
    "mobilenetv3_large_100.ra_in1k",
    "regnety_016.tv2_in1k",
    "resnet18.a1_in1k",
    "resnet50.a1_in1k",
)
"""timm names with weights, most useful first; all other timm names work too."""


def models(incomplete: str) -> list[str]:
    """Return names of backbones, without the weights tag."""
    return sorted({name.partition(".")[0] for name in BACKBONES if name.startswith(incomplete)})


def weights(incomplete: str) -> list[str]:
    """Return runs, newest first, then names of backbones with weights tag."""
    return [*runs(incomplete), *(name for name in BACKBONES if name.startswith(incomplete))]


def runs(incomplete: str) -> list[str]:
    """Return the runs in `runs/`, newest first."""
    manifests = sorted(Path("runs").glob("*/run.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    return [name for path in manifests if (name := str(path.parent)).startswith(incomplete)]


def recipes(incomplete: str) -> list[str]:
    """Return the shipped recipes."""
    from dinocli.config.load import recipe_names

    return [name for name in recipe_names() if name.startswith(incomplete)]


def settings(incomplete: str) -> list[str]:
    """Return `section.key=` for every setting of a recipe."""
    from dinocli.config.load import load_recipe

    values = load_recipe().model_dump()
    keys = (f"{section}.{key}=" for section, inner in values.items() if isinstance(inner, dict) for key in inner)
    return [key for key in keys if key.startswith(incomplete)]
