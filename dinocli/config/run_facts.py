"""`RunFacts`: what the "auto" values of a recipe depend on."""

from dataclasses import dataclass

from dinocli.config.architecture_defaults import Architecture


@dataclass(frozen=True)
class RunFacts:
    """The facts that "auto" values depend on.

    Args:
        images: Number of readable images.
        pretrained: The run starts from pretrained weights, not from random ones.
        architecture: Architecture of the backbone.
        batch_norm: The backbone has batch norm.
        lora: The backbone has attention layers that LoRA supports.
        processes: Number of processes that share a batch.
        distinct: Number of images, near-duplicates counted once; 0: `images`.
        patch: Patch size of a ViT, pixels; 0 for a convnet.
        cpu: The run uses no accelerator.
        fixed_size: Side of the input that the backbone requires, pixels; 0: any.
        pool: Pooling of the backbone: `cls`, `mean`, or `timm` if there is no choice.
        max_batch: Largest batch that fits into memory; 0: unknown, or no limit nearby.
        in_chans: Channels of the network's input.
    """

    images: int
    pretrained: bool
    architecture: Architecture = "vit"
    batch_norm: bool = False
    lora: bool = True
    processes: int = 1
    distinct: int = 0
    patch: int = 0
    cpu: bool = False
    fixed_size: int = 0
    pool: str = "timm"
    max_batch: int = 0
    in_chans: int = 3

    @property
    def distinct_images(self) -> int:
        """Column of the tables: near-duplicates, such as frames of a video, count once."""
        return self.distinct or self.images
