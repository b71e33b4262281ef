"""Setup of `embed`: image list, weights, preprocessing, precision, and the shape of a row."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, BinaryIO

import torch

from dinocli.artifacts.feature_file import open_features
from dinocli.artifacts.feature_model import feature_model_of, inside_of, ready
from dinocli.artifacts.run_folder import RunFolder, latest_run
from dinocli.artifacts.shards import parse_shard
from dinocli.config.preprocess import Preprocess
from dinocli.config.recipe import Data
from dinocli.data.image_list import ImageList
from dinocli.data.input_channels import input_channels
from dinocli.data.parallel import thread_count
from dinocli.data.ranges import MEASURED, range_option
from dinocli.data.region_of_interest import described_roi, parse_roi
from dinocli.data.sources import find_images
from dinocli.data.stored_reading import check_stored
from dinocli.engine.device import pick_device
from dinocli.engine.distributed import environment_number, from_main, main_first
from dinocli.engine.precision import DTYPES, feature_precision
from dinocli.engine.rare_features import RareFeatures, named_from, width_of
from dinocli.engine.square_resize import CONVNET_CELL
from dinocli.engine.start_shift import shift_of_folder
from dinocli.engine.survey_images import preprocess_of, survey_images
from dinocli.errors import UsageError, WeightsError, counted, first_line, is_out_of_memory
from dinocli.files import user_path
from dinocli.models.backbone import Backbone
from dinocli.models.features import Extractor, extract
from dinocli.models.rarity_maps import rarity_maps
from dinocli.models.token_kinds import AUTO, FITTED
from dinocli.models.tokens import Tokens
from dinocli.models.weights import load_backbone
from dinocli.models.weights_info import WeightsInfo
from dinocli.progress import ProgressReporter
from dinocli.tasks.embed.embed_options import EmbedOptions, following
from dinocli.tasks.embed.token_choice import chosen_tokens
from dinocli.tasks.inputs import default_inputs


@dataclass(frozen=True)
class EmbedContext:
    """Options, images, weights and preprocessing of one `embed`, shared by all stages.

    Args:
        options: Options of the command, with `auto` tokens resolved.
        reporter: Receives the progress.
        images: Images of this shard.
        backbone: Backbone on the device, in eval mode.
        info: Origin of the weights.
        preprocess: Preprocessing of the images.
        data: Threads and the limit of unreadable images.
        device: Device of the backbone.
        precision: fp32, bf16 or fp16.
        tokens: Feature extractor; of features that are fitted to the images, only their kind before the fit.
        shape: Shape of the row of a square image.
        digest: `ImageList.digest` of all images, including other shards.
        run: Training run of the weights; None for other weights.
    """

    options: EmbedOptions
    reporter: ProgressReporter
    images: ImageList
    backbone: Backbone
    info: WeightsInfo
    preprocess: Preprocess
    data: Data
    device: torch.device
    precision: str
    tokens: Extractor
    shape: tuple[int, ...]
    digest: str
    run: RunFolder | None

    @property
    def autocast(self) -> torch.dtype | None:
        """Return the autocast dtype of the extractor; None for fp32."""
        return DTYPES.get(self.precision)

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Return the shape of one row; -1 for lengths that differ between images."""
        return (-1, -1, self.shape[-1]) if self.options.to_folder and self.options.keep_aspect else self.shape

    @property
    def cell(self) -> int:
        """Pixels that image sides are rounded to a multiple of with --keep-aspect; 0 for square images."""
        return (self.backbone.patch or CONVNET_CELL) if self.options.keep_aspect else 0

    def request(self) -> dict[str, Any]:
        """Return the settings that determine the rows, as JSON-like data."""
        options = self.options
        return {
            "model": self.info.name,
            "weights sha256": self.info.sha256,
            "pool": self.info.pool,
            "images": self.digest,
            "preprocess": self.preprocess.to_dict(),
            **{"tokens": options.tokens, "layers": options.layers, "normalize": options.normalize},
            **{"dtype": options.dtype, "precision": self.precision, "tile": options.tile, "shard": options.shard},
            "keep aspect": options.keep_aspect,
            "fitted": self.tokens.digest() if isinstance(self.tokens, RareFeatures) else "",
        }


@torch.random.fork_rng(devices=[])  # the caller's random numbers stay as they are
def prepare(
    options: EmbedOptions, reporter: ProgressReporter, stdin: BinaryIO | None, *, reading_of: str = ""
) -> EmbedContext:
    """Find images, load weights, and determine the preprocessing.

    Inputs and weights default to those of the newest run. Images are read as stored with the weights; without stored
    preprocessing, the range comes from a sample of the images, and mean, std and size from the weights.

    Args:
        options: Options of the command.
        reporter: Receives the progress.
        stdin: Standard input, for `-`.
        reading_of: Name of the detector whose stored preprocessing is used, for messages; empty for weights.

    Raises:
        DinocliError: Any error, before any image is computed.
    """
    options = following(options)
    device = pick_device(options.device, environment_number("LOCAL_RANK", 0))
    inputs, weights, run = default_inputs(options, reporter)
    reporter.stage("listing images")
    naming = options.read.naming(None if options.inputs else latest_run().read())
    images = from_main(lambda: find_images(inputs, stdin=stdin, null=options.read.null, **naming))
    for line in (f"{counted(len(images), 'image')} in {images.root}", *images.notes):
        reporter.line(line)
    shard = parse_shard(options.shard)
    if shard and shard.count > len(images):
        raise UsageError(f"--shard {options.shard}: there are {len(images)} images for {shard.count} parts; use fewer")
    reporter.stage("loading weights")
    tokens: Extractor
    stored: dict[str, Any] | None = None
    like_precision = ""
    if options.like:
        file = open_features(user_path(options.like))
        like_precision = file.meta.get("precision", "")
        maker = main_first(lambda: feature_model_of(file))
        assert maker.info is not None
        backbone, info, preprocess = maker.backbone, maker.info, maker.preprocess
        tokens = named_from(maker.tokens, file.meta.get("root", ""), images.root)
        source = str(file.meta.get("stands_for", options.like))  # a classifier, rather than its temporary file
        reporter.line(f"{info.describe()}, tokens and reading of {source}")
        for warning in from_main(lambda: check_stored(images, preprocess, source)):
            reporter.warn(warning)
    else:
        torch.manual_seed(0)  # for random weights
        read = options.read
        in_chans = from_main(
            lambda: 0 if read.channels is None else input_channels(images, read.channels, read.page or 0)
        )
        backbone, info, stored = main_first(lambda: load_backbone(weights, options.model, in_chans=in_chans))
        reporter.line(info.describe())
        Tokens("pooled" if options.tokens == AUTO else options.tokens, options.layers).check(backbone)
        preprocess = _preprocess(options, images, info, stored, reporter, reading_of)
    reporter.stage("preparing the network")
    precision = feature_precision(device, options.precision, like_precision)
    backbone = ready(backbone, device)
    if not options.like:
        threads = thread_count(options.read.data(stored).workers)
        shift = partial(shift_of_folder, backbone, images, preprocess, threads, device)
        kind, note = chosen_tokens(options, backbone, info, len(images), shift)
        if note:
            reporter.line(note)
        options = replace(options, tokens=kind)
        tokens = Tokens(kind, options.layers, None if options.tile else inside_of(preprocess))
    shape = _row_shape(backbone, tokens, preprocess.size, device)
    shard_images = replace(images, names=images.names[shard.slice(len(images))]) if shard else images
    return EmbedContext(
        options=options,
        reporter=reporter,
        images=shard_images,
        backbone=backbone,
        info=info,
        preprocess=preprocess,
        data=options.read.data(stored),
        device=device,
        precision=precision,
        tokens=tokens,
        shape=shape,
        digest=images.digest(),
        run=run,
    )


def _preprocess(
    options: EmbedOptions,
    images: ImageList,
    info: WeightsInfo,
    stored: dict[str, Any] | None,
    reporter: ProgressReporter,
    reading_of: str,
) -> Preprocess:
    read, data = options.read, options.read.data(stored)
    roi = parse_roi(read.roi) if read.roi else (stored or {}).get("roi", "")
    kept = Preprocess.from_dict(stored) if stored and not read.range else None
    if kept and read.channels not in (None, kept.channels):
        if kept.range_policy in MEASURED:
            reporter.line("--channels are not those of these weights: the range is measured again")
        else:
            data = data.model_copy(update={"range": range_option(kept)})
        kept = None
    if kept:
        asked = {name: getattr(read, name) for name in ("page", "nodata", "z")}
        changed = {name: value for name, value in asked.items() if value not in (None, getattr(kept, name))}
        preprocess = replace(kept, roi=roi, **changed)
        how = f"images are read as by {reading_of}" if reading_of else "images are read as these weights were trained"
        how += f" except {', '.join(f'--{name}' for name in changed)}" if changed else ""
        reporter.line(", ".join(filter(None, [how, described_roi(roi)])))
        for warning in from_main(lambda: check_stored(images, preprocess, reading_of)):
            reporter.warn(warning)
    else:
        survey = survey_images(images, data, reporter, roi=roi)
        if survey.bad:
            reporter.line(
                f"{counted(len(survey.bad), 'image')} of the sample cannot be read, such as {': '.join(survey.bad[0])}"
            )
        preprocess = replace(preprocess_of(survey, data, info), roi=roi)
    return replace(preprocess, size=options.size) if options.size else preprocess


def _row_shape(backbone: Backbone, tokens: Extractor, side: int, device: torch.device) -> tuple[int, ...]:
    """Return the shape of a row by computing one black image, so that an unsupported size is refused early.

    Raises:
        WeightsError: The network takes no images of this size.
    """
    blank = torch.zeros(1, backbone.in_chans, side, side, device=device)
    try:
        if isinstance(tokens, Tokens) and tokens.kind in FITTED:
            with torch.inference_mode():
                return (width_of(tokens.kind, *rarity_maps(backbone, blank)),)
        return extract(backbone, [blank], autocast=None, tokens=tokens).shape[1:]
    except (RuntimeError, AssertionError) as error:  # timm's and torch's, on sides of a few pixels or odd grids
        if is_out_of_memory(error):
            raise
        raise WeightsError(
            f"{backbone.name} cannot compute images of {side} px ({first_line(error)}): use another --size"
        ) from error
