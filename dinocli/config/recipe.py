"""The recipe: every setting of a run, with its unit, in nine sections.

Types and meaning stand here, values in `recipes/natural.toml` and the files that differ from it: no default has two
homes. "auto" is resolved once, by `dinocli.config.auto`, and a resolved recipe holds none.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def _ordered(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] > pair[1]:
        raise ValueError("write the smaller value first")
    return pair


Auto = Literal["auto"]
Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Interval = Annotated[tuple[Positive, Positive], AfterValidator(_ordered)]
Pixels = Annotated[int, Field(ge=16)]
Share = Annotated[float, Field(gt=0, le=1)]
Scale = Annotated[tuple[Share, Share], AfterValidator(_ordered)]
PerView = tuple[Fraction, Fraction, Fraction]
Trainable = Annotated[str, Field(pattern=r"^(all|last-[1-9][0-9]*|lora|attn-proj|norms)$")]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Model(Section):
    weights: str = Field(description="start: a timm name, a hub id, a file, a local-dir, a run of ours, or `none`")
    name: str = Field(description="timm name; needed only beside a bare state dict or `none`, else empty")
    trainable: Auto | Trainable = Field(
        description="part of the backbone that learns: all | last-N (blocks of a ViT, stages of a convnet) | lora (a "
        "low-rank change of attention) | attn-proj (its output projections) | norms (their scales and shifts)"
    )
    lora_rank: int = Field(ge=1, description="rank of the change of each weight with trainable = lora")
    drop_path: Fraction = Field(description="stochastic depth of the student, linear over depth; the teacher has none")
    pool: Literal["auto", "cls", "mean", "timm"] = Field(
        description="feature that learns: the class token, the mean of the patches, or what timm pools; auto: what the "
        "weights were trained by, the class token unless a classifier on top of them read the mean"
    )
    batch_norm: Literal["auto", "frozen", "adapted", "train"] = Field(
        description="statistics of a convnet's batch norm: frozen as they came, adapted (moved once towards those of "
        "the folder's clean images, then frozen), or trained (synchronised) with the views, as from scratch"
    )
    grad_checkpointing: bool = Field(description="recompute activations in the backward pass: less memory, more time")


class Data(Section):
    short_side: int = Field(ge=32, description="pixels; images are decoded once and shrunk to this shorter side")
    range: str = Field(
        description="auto | full | minmax | percentile:LOW,HIGH | image:LOW,HIGH (percentiles of each image) | "
        "window:LEVEL,WIDTH | fixed:LOW,HIGH"
    )
    channels: list[Annotated[int, Field(ge=0)] | str] = Field(
        description="source channels: numbers from 0, names that the files give, or `page` for all pages; empty: all"
    )
    nodata: list[float] = Field(description="source values that mean no measurement, beside NaN and GDAL's tag")
    page: int = Field(ge=0, description="page of a multi-page file, from 0")
    max_bad: str = Field(
        coerce_numbers_to_str=True,
        description="unreadable images that are still accepted: a share (`10%`) or a number (`25`)",
    )
    cache: str = Field(description="auto | off | the most bytes of decoded images to keep (`8G`)")
    workers: Auto | Annotated[int, Field(ge=0)] = Field(description="threads that decode; 0: none of their own")


class Views(Section):
    global_size: Auto | Pixels = Field(description="pixels, side of the two global views")
    local_size: Auto | Pixels = Field(description="pixels, side of the local views")
    local_count: Auto | Annotated[int, Field(ge=0)] = Field(description="local views of each image")
    global_scale: Scale = Field(description="share of the image's area in a global view, smallest and largest")
    local_scale: Scale = Field(description="share of the image's area in a local view, smallest and largest")
    ratio: Interval = Field(description="width / height of the cropped box, smallest and largest")
    hflip: Fraction = Field(description="probability of a left-right flip")
    vflip: Fraction = Field(description="probability of an up-down flip")
    rot90: Fraction = Field(description="probability of a turn by 90, 180 or 270 degrees")
    jitter: Fraction = Field(description="probability of the four changes below, in random order")
    brightness: NonNegative = Field(description="factor from 1-x to 1+x")
    contrast: NonNegative = Field(description="factor from 1-x to 1+x")
    saturation: NonNegative = Field(description="factor from 1-x to 1+x; off where the folder is grey")
    hue: Annotated[float, Field(ge=0, le=0.5)] = Field(description="turn of the colour circle; off where it is grey")
    grayscale: Fraction = Field(description="probability of losing all colour; off where the folder is grey")
    blur: PerView = Field(description="probability of a Gaussian blur in global view 1, global view 2, local views")
    blur_sigma: Interval = Field(description="standard deviation of the blur, pixels of the view")
    solarize: PerView = Field(description="probability of inverting bright pixels: global 1, global 2, local views")


class Head(Section):
    out_dim: Auto | Annotated[int, Field(ge=2)] = Field(description="prototypes, K in the paper")
    hidden_dim: int = Field(ge=1, description="width of the head's two hidden layers")
    bottleneck_dim: int = Field(ge=1, description="width before the prototypes")
    start: Literal["auto", "random", "fitted"] = Field(
        description="random as in the paper, or fitted to views of the folder (whitened bottleneck, views as "
        "prototypes); auto: fitted where the run continues"
    )
    batch_norm: bool | Auto = Field(description="batch norm in the head; auto: for convnets trained from scratch")
    norm_last_layer: bool = Field(description="prototypes of length 1: steadier; off gives small ViTs a little more")


class Dino(Section):
    student_temp: Positive = Field(description="softmax temperature of the student")
    teacher_temp: Positive = Field(description="softmax temperature of the teacher; above 0.07 it is unstable")
    warmup_teacher_temp: Positive = Field(
        description="the teacher's temperature at first; lower it if the loss is flat"
    )
    teacher_temp_warmup: Fraction = Field(description="share of the run until teacher_temp is reached")
    center_momentum: Fraction = Field(description="memory of the centre")
    center_batches: int = Field(ge=0, description="batches that fill the centre before step 1")
    teacher_momentum: Auto | Fraction = Field(description="EMA of the teacher at the start")
    teacher_momentum_end: Fraction = Field(description="EMA of the teacher at the end, cosine in between")


class Loss(Section):
    """What joins the DINO loss, by weight; 0 is off and costs nothing."""

    koleo: NonNegative = Field(description="KoLeo: images of a batch (of a slice of it) repel their nearest neighbour")
    gram_anchor: NonNegative = Field(description="keep the likeness of patches to each other as the start sees it")
    feature_anchor: NonNegative = Field(description="keep the features of global views near the start's (cosine)")


class Optim(Section):
    optimizer: Literal["adamw", "sgd", "lars"] = Field(description="adamw; sgd and lars are for convnets from scratch")
    lr: Auto | NonNegative = Field(description="peak learning rate of the backbone, absolute (no batch rule applied)")
    head_lr: Auto | NonNegative = Field(description="peak learning rate of the head, absolute")
    min_lr: NonNegative = Field(description="learning rate at the end, cosine")
    lr_warmup: Fraction = Field(description="share of the run over which the learning rate rises from 0")
    layer_decay: Auto | Share = Field(
        description="factor on the learning rate from each layer to the one before it; 1 is off"
    )
    stem_lr: Fraction = Field(description="factor on the learning rate of the patch embedding, or a convnet's stem")
    head_warmup: Auto | Fraction = Field(description="share of the run in which only the head learns, at most")
    head_warmup_loss: Fraction = Field(
        description="the head's warm-up ends once its loss is below this share of ln K; 0 is off: it lasts its share"
    )
    weight_decay: NonNegative = Field(description="at the start; none for biases, norms, position and class tokens")
    weight_decay_end: Auto | NonNegative = Field(description="at the end, cosine in between")
    clip: NonNegative = Field(description="largest gradient norm; 0 is off")
    clip_mode: Literal["parameter", "global"] = Field(description="clip each tensor alone (the paper) or all together")
    freeze_last_layer: Fraction = Field(description="share of the run in which the prototypes stand still")
    accumulate: int = Field(ge=1, description="slices a batch is computed in: less memory, the same result")


class Run(Section):
    steps: Auto | Annotated[int, Field(ge=1)] = Field(description="optimizer steps; schedules are stretched to them")
    batch_size: Auto | Annotated[int, Field(ge=2)] = Field(description="images a step, over all processes")
    seed: int = Field(ge=0, description="of everything random")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(description="auto is measured once, at the start")
    attention: Literal["auto", "fused", "math"] = Field(description="attention kernels; auto is measured once")
    compile: bool = Field(description="torch.compile the backbone; needs a C++ compiler on a CPU")
    save_every: int = Field(ge=1, description="steps between checkpoints")
    save_minutes: Positive = Field(description="minutes between checkpoints, whichever comes first")
    log_every: int = Field(
        ge=1, description="steps between reads of the device; each writes its steps to metrics.jsonl"
    )
    tensorboard: bool = Field(description="also write TensorBoard events (extra `tensorboard`)")


class Guard(Section):
    every: Share = Field(description="share of the run between two looks at the probe set")
    probe_images: Auto | Annotated[int, Field(ge=8)] = Field(description="images of the fixed probe set")
    window: Share = Field(description="share of the run that a collapse has to last")
    stop: bool = Field(description="stop the run on a collapse; off only warns, and leaves the end to patience")
    score: str = Field(description="label-free score that chooses the best step and blend, and judges: see the README")
    patience: Share = Field(description="share of the run without a better look after which it ends; 1 is off")
    blend: list[Share] = Field(
        min_length=1, description="tried at the end: shares of the adapted weights in a mix with the start; [1] is off"
    )


class Recipe(Section):
    """Every setting of a run. Frozen; `model_copy(update=...)` and `load.with_values` make changed ones."""

    description: str = Field(description="whom this recipe is for, in one line")
    model: Model
    data: Data
    views: Views
    head: Head
    dino: Dino
    loss: Loss
    optim: Optim
    run: Run
    guard: Guard
