"""Options and result of `embed`; options of `embed --like`."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from dinocli.artifacts.feature_file import FEATURE_SUFFIXES, open_features, sidecar
from dinocli.artifacts.feature_formats import SIDECARS, check_free
from dinocli.artifacts.protected_files import refuse_inputs, refuse_parts
from dinocli.artifacts.shards import parse_shard
from dinocli.config.preprocess import STORED_READING
from dinocli.data.tiling import parse_tiling
from dinocli.errors import UsageError, WeightsError
from dinocli.files import user_path
from dinocli.models.token_kinds import AUTO, FITTED
from dinocli.tasks.inputs import ImageOptions, check_inputs

STDOUT = "-"
DEFAULT_BATCH = 32
DTYPES = ("float32", "float16")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
FLAT_ONLY = (".csv", ".parquet")
"""Formats that cannot store a grid of patches."""

STORED_OPTIONS = ("tokens", "layers", "keep_aspect", "normalize", "dtype", "tile")
"""Options that `--like` takes from `feats.json`, where they have the same names."""


@dataclass(frozen=True)
class EmbedOptions(ImageOptions):
    """Options of `embed`. Empty strings and None mean: as stored with the weights, else the default.

    In addition to those of `ImageOptions`.

    Args:
        out: Feature file, in the format of its suffix; `-` writes `.npy` bytes to stdout. Without a suffix, a folder
            with one `.npy` file per image, for patch tokens.
        tokens: Kind of features, one of `dinocli.models.token_kinds.KINDS`, or auto: `pooled+rare` for a convnet or
            plain ViT and at least 64 images, unless they are like those of the weights; else `pooled`.
        layers: Number of last blocks of a ViT, or last feature maps of a convnet, that are concatenated.
        size: Side of the square that an image is resized to, pixels; 0 is the size of the weights.
        keep_aspect: Resize the shorter side of an image to `size` and keep its aspect ratio.
        normalize: Scale each vector to length 1.
        dtype: Data type of the file, one of `DTYPES`.
        precision: Precision of the computation, one of `PRECISIONS`.
        tile: `SIZE` or `SIZE:OVERLAP`, pixels: one row per tile instead of one per image.
        batch_size: Images (or tiles) per batch.
        shard: `i/n`.
        like: Feature file whose weights, preprocessing, tokens and fit of these tokens are used.
        resume: Continue an interrupted command.
        note: Record the file in the run of the weights, so that later commands find it.

    Raises:
        UsageError: A value is invalid, or options contradict each other.
    """

    out: str = "feats.npy"
    tokens: str = AUTO
    layers: int = 1
    size: int = 0
    keep_aspect: bool = False
    normalize: bool = False
    dtype: str = "float32"
    precision: str = "auto"
    tile: str = ""
    batch_size: int = DEFAULT_BATCH
    shard: str = ""
    like: str = ""
    resume: bool = False
    note: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_out(Path(self.out).suffix)
        parse_tiling(self.tile)
        if self.dtype not in DTYPES:
            raise UsageError(f"--dtype {self.dtype!r} is not known; use one of {', '.join(DTYPES)}")
        if self.precision not in PRECISIONS:
            raise UsageError(f"--precision {self.precision!r} is not known; use one of {', '.join(PRECISIONS)}")
        if self.out == STDOUT and (self.resume or self.shard):
            raise UsageError("--out - is a stream: nothing to --resume, and no --shard; name a file")
        if self.tokens in FITTED and not self.like and (self.out == STDOUT or self.shard):
            what = "leaves a file beside the features" if self.out == STDOUT else "is fitted to all images first"
            raise UsageError(
                f"--tokens {self.tokens} {what}, so no {'--out -' if self.out == STDOUT else '--shard'}: embed without "
                "it, some images if they are many, and then all with --like"
            )

    def check_merge(self, *, dry_run: bool) -> None:
        """Raise `UsageError` for options that `--merge` does not use: it copies rows, and computes nothing."""
        others = (field for field in fields(self) if field.name not in ("inputs", "out", "force", "read"))
        given = [f"--{field.name.replace('_', '-')}" for field in others if getattr(self, field.name) != field.default]
        given += [*(name for name in self.read.given() if name != "--max-bad"), *(["--dry-run"] if dry_run else [])]
        if given:
            raise UsageError(f"--merge copies the rows of shards as they are: leave {', '.join(given)} out")
        self._refuse(Path(self.out))

    def check(self, *, dry_run: bool = False) -> None:
        """Raise the errors that need neither torch nor an image; a dry run may name an output that exists.

        Raises:
            UsageError: The output exists.
            DinocliError: As `check_inputs`.
        """
        if (path := self.path()) and not dry_run:
            self._refuse(path)
            check_free(path, force=self.force, resume=self.resume)
        check_inputs(self, weights=self.like)

    @classmethod
    def of(cls, options: ImageOptions, **more: Any) -> "EmbedOptions":
        """Return options that embed the images of another command, with its weights, reading and device.

        Args:
            options: Options of the other command.
            more: Options of `embed` that differ from their defaults.
        """
        shared = {name: getattr(options, name) for name in ("inputs", "weights", "model", "read", "device")}
        return cls(**(shared | more))

    def _refuse(self, path: Path) -> None:
        """Raise `UsageError` if the output, or a file beside it, would replace an input or a part of a result."""
        beside = [] if self.to_folder else [sidecar(path, suffix) for suffix in SIDECARS]
        refuse_parts([path])
        refuse_inputs([path, *beside], (*self.sources, self.like))  # arrays can be images

    def _check_out(self, suffix: str) -> None:
        patches = self.tokens == "patch"
        if self.out != STDOUT and suffix not in FEATURE_SUFFIXES and not (self.to_folder and patches):
            raise UsageError(f"--out {self.out}: the suffix tells the format; use one of {', '.join(FEATURE_SUFFIXES)}")
        if patches and suffix in FLAT_ONLY:
            raise UsageError(f"{suffix} holds one vector a row, and patch tokens are a grid; use --out NAME.npy")
        if self.to_folder and (self.shard or self.tile or self.force):
            raise UsageError(f"--out {self.out} is a folder, without --shard, --tile and --force; use --out NAME.npy")
        if self.keep_aspect and self.tile:
            raise UsageError("--keep-aspect is for whole images, and --tile cuts them; use one of them")
        if self.keep_aspect and patches and not self.to_folder:
            raise UsageError("--keep-aspect gives each image its own grid of patches; use a folder, --out NAME")

    @property
    def to_folder(self) -> bool:
        """Return whether the output is a folder with one file per image."""
        return self.out != STDOUT and not Path(self.out).suffix

    @property
    def keeps_positions(self) -> bool:
        """Return whether unreadable images become rows of NaN, because readers rely on the number of rows."""
        return self.out == STDOUT or bool(self.shard)

    def path(self) -> Path | None:
        """Return the output file, or that of the shard; None for stdout."""
        if self.out == STDOUT:
            return None
        shard = parse_shard(self.shard)
        return shard.file(Path(self.out)) if shard else Path(self.out)


@dataclass(frozen=True)
class EmbedResult:
    """Result of `embed`.

    Args:
        path: Feature file; None for stdout.
        rows: Number of rows.
        shape: Shape of one row; -1 for a length that differs between images.
        images: Number of listed images.
        bad: Number of unreadable images.
        seconds: Duration of the command.
        images_per_second: Speed of the pass over the images, without loading the weights.
        root: Folder that image names are relative to; empty for a stream.
    """

    path: Path | None
    rows: int
    shape: tuple[int, ...]
    images: int
    bad: int
    seconds: float
    images_per_second: float
    root: str = ""

    @classmethod
    def of_meta(cls, path: Path, meta: Mapping[str, Any], seconds: float) -> "EmbedResult":
        """Return the result of a command that computed nothing, from `feats.json`."""
        shape = tuple(meta["shape"][1:])
        return cls(path, meta["n"], shape, meta["images"], meta["bad"], seconds, 0.0, meta["root"])

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-like data."""
        return asdict(self) | {"path": str(self.path) if self.path else STDOUT, "shape": list(self.shape)}


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
    others = [f"--{name}" for name in ("weights", "model", "size") if getattr(options, name)]
    others += [name for name in options.read.given() if name in STORED_READING]
    if others:
        raise UsageError(f"{others[0]} and --like both say how images become features: leave one of them out")
    values: dict[str, Any] = {name: stored[name] for name in STORED_OPTIONS}
    return replace(options, weights=meta["weights"]["source"], model=meta["weights"]["name"], **values)
