"""The recipe: all settings of a run with their units, in nine sections.

Types and descriptions stand here, default values in `recipes/*.toml` alone. `dinocli.config.auto` resolves "auto" once.
"""

from typing import Annotated, Literal

from pydantic import Field

from dinocli.config.preprocess import MAX_CHANNELS
from dinocli.config.setting_types import (
    Auto,
    Fraction,
    Interval,
    NonNegative,
    PerView,
    Pixels,
    Positive,
    Scale,
    Section,
    Share,
    Trainable,
)


class Model(Section):
    weights: str = Field(
        description="weights to start from: timm name, hub id, file, local-dir, run folder of dinocli, or `none` "
        "(random)"
    )
    name: str = Field(description="timm model name; needed only with a bare state dict or `none`, else empty")
    in_chans: Auto | Annotated[int, Field(ge=1, le=MAX_CHANNELS)] = Field(
        description="channels of the network's input; auto: those that data.channels reads, 3 for grey and RGB; "
        "weights of RGB are adapted as timm does"
    )
    teacher: str = Field(
        description="weights of a frozen teacher, as model.weights takes them: the model learns its features "
        "(distillation); empty: none, the teacher is the average of the model (DINO)"
    )
    teacher_name: str = Field(description="timm name of the teacher; needed only if model.teacher is a bare state dict")
    trainable: Auto | Trainable = Field(
        description="trained part of the backbone: all | last-N (blocks of a ViT, stages of a convnet) | lora "
        "(low-rank update of attention) | attn-proj (output projections of attention) | norms (scales and shifts)"
    )
    lora_rank: int = Field(ge=1, description="rank of the LoRA update with trainable = lora")
    drop_path: Fraction = Field(
        description="stochastic depth rate of the student, linear over depth; the teacher has none"
    )
    pool: Literal["auto", "cls", "mean", "timm"] = Field(
        description="trained feature: class token, mean of the patches, or timm's pooling; auto: that of the "
        "pretraining, the class token unless the weights' classifier reads the mean"
    )
    batch_norm: Literal["auto", "frozen", "adapted", "train"] = Field(
        description="batch-norm statistics: frozen (as loaded), adapted (moved once towards those of the clean images, "
        "then frozen), train (synchronised, on views, as from scratch)"
    )
    grad_checkpointing: bool = Field(description="recompute activations in the backward pass: less memory, more time")


class Data(Section):
    short_side: int = Field(ge=32, description="pixels; images are decoded once and downscaled to this shorter side")
    range: str = Field(
        description="auto | full | minmax | percentile:LOW,HIGH | image:LOW,HIGH (percentiles of each image) | "
        "window:LEVEL,WIDTH | fixed:LOW,HIGH"
    )
    channels: list[Annotated[int, Field(ge=0)] | str] = Field(
        description="source channels: numbers from 0, names that the files give, or `page` for all pages; empty: all"
    )
    nodata: list[float] = Field(description="source values that mean no measurement, beside NaN and GDAL's tag")
    page: int = Field(ge=0, description="page of a multi-page file, from 0")
    z: str = Field(
        pattern=r"^(max|mean|\d{0,5})$",
        description="of a TIFF stack: max | mean along z, or the number of a plane from 0; empty: pages, not axes",
    )
    roi: str = Field(
        description="region of interest: `x,y,w,h` (left, top, width, height, pixels) or a mask file; empty: all"
    )
    max_bad: str = Field(
        coerce_numbers_to_str=True,
        description="largest accepted number of unreadable images: a percentage (`10%`) or a count (`25`)",
    )
    cache: str = Field(description="cache of decoded images: auto | off | largest size in bytes (`8G`)")
    workers: Auto | Annotated[int, Field(ge=0)] = Field(description="decoding threads; 0 decodes in the main thread")


class Views(Section):
    global_size: Auto | Pixels = Field(description="pixels, side of the two global views")
    local_size: Auto | Pixels = Field(description="pixels, side of the local views")
    local_count: Auto | Annotated[int, Field(ge=0, le=1000)] = Field(description="number of local views per image")
    global_scale: Scale = Field(description="area of a global view as a fraction of the image, smallest and largest")
    local_scale: Scale = Field(description="area of a local view as a fraction of the image, smallest and largest")
    ratio: Interval = Field(description="aspect ratio (width / height) of the crop, smallest and largest")
    focus: Fraction = Field(
        description="fraction of crops centred on patches that are unlike the other images; 0: anywhere"
    )
    hflip: Fraction = Field(description="probability of a horizontal flip")
    vflip: Fraction = Field(description="probability of a vertical flip")
    rot90: Fraction = Field(description="probability of a rotation by 90, 180 or 270 degrees")
    jitter: Fraction = Field(
        description="probability of colour jitter: brightness, contrast, saturation and hue in random order"
    )
    brightness: NonNegative = Field(description="brightness factor from 1-x to 1+x")
    contrast: NonNegative = Field(description="contrast factor from 1-x to 1+x")
    saturation: NonNegative = Field(description="saturation factor from 1-x to 1+x; off for all but RGB images")
    hue: Annotated[float, Field(ge=0, le=0.5)] = Field(
        description="largest hue shift, fraction of the colour circle; off for all but RGB images"
    )
    grayscale: Fraction = Field(description="probability of conversion to grey; off for all but RGB images")
    blur: PerView = Field(description="probability of a Gaussian blur in global view 1, global view 2, local views")
    blur_sigma: Interval = Field(description="standard deviation of the blur, pixels of the view")
    solarize: PerView = Field(description="probability of solarization in global view 1, global view 2, local views")


class Head(Section):
    out_dim: Auto | Annotated[int, Field(ge=2)] = Field(description="number of prototypes (output dimension, K)")
    hidden_dim: int = Field(ge=0, description="width of the two hidden layers of the head; 0: none, a linear head")
    bottleneck_dim: int = Field(
        ge=1, description="width of the bottleneck before the prototypes; with a frozen teacher that of its features"
    )
    init: Literal["auto", "random", "fitted"] = Field(
        description="initialisation of the head: random (the paper), or fitted to views of the images (whitened "
        "bottleneck, views as prototypes); auto: fitted with pretrained weights"
    )
    batch_norm: bool | Auto = Field(description="batch norm in the head; auto: only for convnets from scratch")
    norm_last_layer: bool = Field(
        description="normalise prototypes to length 1: more stable; off is slightly better for small ViTs"
    )


class Dino(Section):
    student_temp: Positive = Field(description="softmax temperature of the student")
    teacher_temp: Positive = Field(description="softmax temperature of the teacher; unstable above 0.07")
    warmup_teacher_temp: Positive = Field(
        description="initial softmax temperature of the teacher; lower it if the loss stays flat"
    )
    teacher_temp_warmup: Fraction = Field(description="fraction of the run until teacher_temp is reached")
    center_momentum: Fraction = Field(description="EMA momentum of the centre")
    center_batches: Auto | Annotated[int, Field(ge=0)] = Field(
        description="batches that initialise the centre before the first step; auto: 4, in short runs one for 16 steps"
    )
    teacher_momentum: Auto | Fraction = Field(description="EMA momentum of the teacher at the first step")
    teacher_momentum_end: Fraction = Field(
        description="EMA momentum of the teacher at the last step, cosine in between"
    )


class Loss(Section):
    """Weights of the terms added to the DINO loss; a term of weight 0 is not computed."""

    koleo: NonNegative = Field(
        description="weight of KoLeo: nearest neighbours in a batch (or slice of it) repel each other"
    )
    gram_anchor: NonNegative = Field(description="weight of the Gram anchor: keep the patch similarities of the start")
    feature_anchor: NonNegative = Field(
        description="weight of the cosine distance between global-view features and those of the start"
    )
    teacher_feature: NonNegative = Field(
        description="weight of the cosine distance between projected global-view features and those of model.teacher"
    )
    teacher_patches: NonNegative = Field(
        description="weight of the cosine distance between projected patches and those of model.teacher"
    )


class Optim(Section):
    lr: Auto | NonNegative = Field(description="peak learning rate of the backbone, absolute (no batch rule applied)")
    head_lr: Auto | NonNegative = Field(description="peak learning rate of the head, absolute")
    min_lr: NonNegative = Field(description="learning rate at the last step, cosine; a lower peak stays constant")
    lr_warmup: Fraction = Field(description="fraction of the run over which the learning rate rises to its peak")
    layer_decay: Auto | Share = Field(
        description="layer-wise learning rate decay: factor from each layer to the one before; 1 is off"
    )
    stem_lr_mult: Fraction = Field(description="multiplier of the learning rate of the patch embedding or stem")
    head_warmup: Auto | Fraction = Field(description="largest fraction of the run in which only the head trains")
    head_warmup_loss: Fraction = Field(
        description="head warm-up ends once the loss is below this fraction of ln K; 0 is off"
    )
    weight_decay: NonNegative = Field(
        description="weight decay at the first step; none for biases, norms, position and class tokens"
    )
    weight_decay_end: Auto | NonNegative = Field(description="weight decay at the last step, cosine in between")
    clip_grad: NonNegative = Field(description="largest gradient norm (clipping); 0 is off")
    clip_mode: Literal["parameter", "global"] = Field(
        description="clip the norm of each parameter (the paper) or the global norm"
    )
    freeze_last_layer: Fraction = Field(description="fraction of the run in which the prototypes are frozen")
    grad_accum_steps: Auto | Annotated[int, Field(ge=1)] = Field(
        description="gradient accumulation: slices per batch, for less memory; training batch norm, KoLeo and "
        "stochastic depth see one slice at a time"
    )


class Run(Section):
    steps: Auto | Annotated[int, Field(ge=1)] = Field(description="optimizer steps; all schedules scale with it")
    batch_size: Auto | Literal["max"] | Annotated[int, Field(ge=2, le=1_000_000)] = Field(
        description="images per step, over all processes; auto: by the number of images, at most what fits into "
        "memory; max: the most that fits, at most half of the images"
    )
    seed: int = Field(ge=0, description="random seed")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        description="training precision; auto is measured at the start"
    )
    attention: Literal["auto", "fused", "math"] = Field(description="attention kernels; auto is measured at the start")
    compile: bool | Auto = Field(
        description="torch.compile networks and views; auto: on a GPU, where it saves more of the run than it costs; "
        "on a CPU true needs a C++ compiler"
    )
    save_every: int = Field(ge=1, description="steps between checkpoints")
    save_minutes: Positive = Field(description="minutes between checkpoints, if that comes first")
    log_every: int = Field(ge=1, description="steps between writes of metrics.jsonl")
    track: list[Literal["tensorboard", "mlflow"]] = Field(
        description="also write the metrics as TensorBoard events or an MLflow run, in the run's folder (extras "
        "`tensorboard`, `mlflow`)"
    )


class Guard(Section):
    every: Share = Field(description="fraction of the run between two probes, at least")
    probe_images: Auto | Annotated[int, Field(ge=8)] = Field(description="images of a probe, at most")
    max_share: Auto | Share = Field(
        description="largest fraction of the run's work for probes and verdict: short runs get fewer and smaller "
        "probes; 1 for no limit; auto: 0.2, from random weights 0.05"
    )
    window: Share = Field(description="fraction of the run that a collapse has to last before it counts")
    stop: bool = Field(description="stop the run on a collapse; off only warns")
    patience: Share = Field(description="fraction of the run without a better probe after which it ends; 1 is off")
    synthetic_defects: Auto | bool = Field(
        description="keep the start where the features of synthetic defects are lost; auto: if the start is pretrained "
        "and there is no --teacher"
    )
    weight_interpolation: list[Share] = Field(
        min_length=1,
        description="alphas tried at the end: weights = (1 - alpha) start + alpha adapted (WiSE-FT); [1] is off",
    )


class Recipe(Section):
    """All settings of a run, immutable; `load.with_values` returns a changed copy."""

    description: str = Field(description="images that this recipe is for, in one line")
    model: Model
    data: Data
    views: Views
    head: Head
    dino: Dino
    loss: Loss
    optim: Optim
    run: Run
    guard: Guard
