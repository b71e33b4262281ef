"""Survey of the images of a command, and the preprocessing that it gives together with the weights."""

from dinocli.config.preprocess import GREY_OR_RGB, Preprocess
from dinocli.config.recipe import Data
from dinocli.data.image_list import ImageList
from dinocli.data.image_sample import SourceReading
from dinocli.data.region_of_interest import parse_roi
from dinocli.data.survey import Survey, survey
from dinocli.engine.distributed import from_main
from dinocli.models.weights_info import WeightsInfo
from dinocli.progress import ProgressReporter


def survey_images(images: ImageList, data: Data, reporter: ProgressReporter, *, roi: str, seed: int = 0) -> Survey:
    """Survey a sample of the images, in the main process for all processes, and report it.

    Args:
        images: The dataset.
        data: Range, channels, page, nodata and z.
        reporter: Receives the report.
        roi: Region of interest, as `Preprocess.roi`.
        seed: Random seed of the sample.

    Raises:
        DinocliError: As `survey`.
    """
    reporter.stage("surveying a sample")
    reading = SourceReading(tuple(data.channels), data.page, tuple(data.nodata), data.z, roi)
    seen = from_main(lambda: survey(images, data.range, reading, seed=seed))
    for line in (seen.describe(), *seen.notes):
        reporter.line(line)
    for warning in seen.warnings:
        reporter.warn(warning)
    return seen


def preprocess_of(survey: Survey, data: Data, info: WeightsInfo) -> Preprocess:
    """Combine the survey (range, depth, grey) and the weights (mean, std, size)."""
    return Preprocess(
        range_policy=survey.policy,
        range_low=survey.low,
        range_high=survey.high,
        deep=survey.deep,
        grey=survey.grey and len(info.mean) in GREY_OR_RGB,
        channels=tuple(data.channels),
        page=data.page,
        mean=info.mean,
        std=info.std,
        size=info.size,
        nodata=tuple(data.nodata),
        alpha=survey.alpha,
        source=survey.source,
        z=data.z,
        roi=parse_roi(data.roi),
        channel_ranges=survey.channel_ranges,
    )
