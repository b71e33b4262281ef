"""Options and result of `embed`."""

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dinocli.artifacts.feature_file import FEATURE_SUFFIXES
from dinocli.errors import UsageError
from dinocli.models.tokens import AUTO, FITTED
from dinocli.tasks.inputs import ImageOptions

STDOUT = "-"
DEFAULT_BATCH = 32
DTYPES = ("float32", "float16")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
FLAT_ONLY = (".csv", ".parquet")
"""Formats that have no place for a grid of patches."""


@dataclass(frozen=True)
class Shard:
    """Part `index` of `count` of the images, counted from 0, for one of several processes or machines."""

    index: int
    count: int

    def slice(self, images: int) -> slice:
        """Return the consecutive images that belong to it, so that joined shards keep the order."""
        return slice(images * self.index // self.count, images * (self.index + 1) // self.count)

    def file(self, whole: Path) -> Path:
        """Name the part of a feature file: `feats.npy` -> `feats.0of4.npy`."""
        return whole.with_name(f"{whole.stem}.{self.index}of{self.count}{whole.suffix}")


def parse_shard(text: str) -> Shard | None:
    """Parse ``i/n``, i from 0 to n - 1; an empty text is no shard.

    Raises:
        UsageError: Anything else.
    """
    if not text:
        return None
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None or int(match[1]) >= int(match[2]):
        raise UsageError(f"--shard {text!r} is not i/n with i from 0 to n - 1; for example 0/4, 1/4, 2/4, 3/4")
    return Shard(int(match[1]), int(match[2]))


@dataclass(frozen=True)
class EmbedOptions(ImageOptions):
    """Options of `embed`. Empty strings and None mean: as stored with the weights, else the default.

    Beside those of `ImageOptions`.

    Args:
        out: The feature file, its suffix tells the format; `-` writes `.npy` bytes to stdout. Without a suffix it is a
            folder, for patch tokens as one `.npy` file an image.
        tokens: Which features, one of `dinocli.models.tokens.KINDS`, or auto: `pooled+rare` for a convnet or
            plain ViT and at least 64 images, else `pooled`.
        layers: Last blocks of a ViT, or last maps of a convnet, that are concatenated.
        size: Side of the square that an image is squashed to, pixels; 0 takes the size of the weights.
        keep_aspect: Give the shorter side of an image that size, instead of squashing it to a square.
        normalize: Give every vector the length 1.
        dtype: Number type of the numbers in the file.
        precision: To compute in.
        tile: `SIZE` or `SIZE:OVERLAP`, pixels: one row a tile instead of one an image.
        batch_size: Images (or tiles) computed at once.
        shard: `i/n`.
        like: Feature file whose weights, reading and tokens are taken, and what its tokens were fitted to.
        resume: Go on where an interrupted command stopped.
        note: Record the file in the run of the weights, so that later commands find it.

    Raises:
        UsageError: Values that make no sense, alone or together.
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
        self._check_out(Path(self.out).suffix)
        if self.dtype not in DTYPES:
            raise UsageError(f"--dtype {self.dtype!r} is not known; use one of {', '.join(DTYPES)}")
        if self.precision not in PRECISIONS:
            raise UsageError(f"--precision {self.precision!r} is not known; use one of {', '.join(PRECISIONS)}")
        if self.out == STDOUT and (self.resume or self.shard):
            raise UsageError("--out - is a stream: nothing to --resume, and no --shard; name a file")
        if self.tokens in FITTED and not self.like and (self.out == STDOUT or self.shard):
            what = "leaves a file beside the features" if self.out == STDOUT else "looks at all images first"
            raise UsageError(
                f"--tokens {self.tokens} {what}, so no {'--out -' if self.out == STDOUT else '--shard'}: embed without "
                "it, some images if they are many, and then all with --like"
            )

    @classmethod
    def of(cls, options: ImageOptions, **more: Any) -> "EmbedOptions":
        """Return how the images of another command are embedded: with its weights, reading and device.

        Args:
            options: Of that command.
            more: What differs from the defaults of `embed`.
        """
        own = {name: getattr(options, name) for name in ("inputs", "weights", "model", "read", "device")}
        return cls(**(own | more))

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
        """Return whether every image gets a file of its own."""
        return self.out != STDOUT and not Path(self.out).suffix

    @property
    def keeps_positions(self) -> bool:
        """Return whether an unreadable image is a row of NaN rather than no row: others count on the number of rows."""
        return self.out == STDOUT or bool(self.shard)

    def path(self) -> Path | None:
        """Return the file to write, that of the shard if there is one; None for stdout."""
        if self.out == STDOUT:
            return None
        shard = parse_shard(self.shard)
        return shard.file(Path(self.out)) if shard else Path(self.out)


@dataclass(frozen=True)
class EmbedResult:
    """Result of `embed`.

    Args:
        path: The feature file; None for stdout.
        rows: Rows in it.
        shape: Shape of one row; -1 where it differs from image to image.
        images: Images that were listed.
        bad: How many of them could not be read.
        seconds: Duration of the whole command.
        images_per_second: Speed of the pass over the images, without loading the weights.
        root: Folder that the names of the rows are relative to; empty for a stream.
    """

    path: Path | None
    rows: int
    shape: tuple[int, ...]
    images: int
    bad: int
    seconds: float
    images_per_second: float
    root: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-like data."""
        return asdict(self) | {"path": str(self.path) if self.path else STDOUT, "shape": list(self.shape)}
