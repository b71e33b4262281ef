"""What commands say and decide about their inputs: how images are read, what was found, which weights were loaded."""

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from dinocli.config.preprocess import Preprocess
from dinocli.config.recipe import Data

if TYPE_CHECKING:
    from dinocli.data.survey import Survey
    from dinocli.models.weights import WeightsInfo


@dataclass(frozen=True)
class ReadOptions:
    """Options of reading images. A default means: what is stored with the weights, else the recipe `natural`.

    Args:
        range: Which source values become black and white, as after `--range`.
        channels: Source channels to read, from 0.
        page: Page of multi-page files, from 0.
        max_bad: Unreadable images that are accepted, a share ("10%") or a number.
        workers: Threads that decode.
        null: Names on stdin end with NUL.
    """

    range: str = ""
    channels: tuple[int, ...] | None = None
    page: int | None = None
    max_bad: str = ""
    workers: int | None = None
    null: bool = False

    def given(self) -> list[str]:
        """Return the options that differ from their defaults, as the command line names them; not `--null`."""
        changed = (field.name for field in fields(self) if getattr(self, field.name) != field.default)
        return [f"--{name.replace('_', '-')}" for name in changed if name != "null"]


def describe_weights(info: "WeightsInfo") -> str:
    """Say in one line what was loaded, and where the model is another one than timm builds by that name."""
    args = ", ".join(f"{key}={value}" for key, value in info.model_args.items())
    name = f"{info.name} ({args})" if args else info.name
    if not info.pretrained:
        return f"{name} from scratch, random weights"
    return (
        f"{name} from {info.source}: {info.matched} of {info.total} tensors, "
        f"sha256 {info.sha256[:12]}, licence {info.licence}"
    )


def describe_survey(seen: "Survey") -> str:
    """Say in one line what the images look like."""
    kinds = ", ".join(f"{count} {dtype}" for dtype, count in seen.dtypes.items())
    height, width = seen.median_size
    colour = "grey" if seen.grey else "colour"
    policy = seen.policy if seen.policy == "full" else f"{seen.policy} ({seen.low:g} to {seen.high:g})"
    return f"sample of {seen.sampled}: {kinds}, {colour}, median {width}x{height} px, range {policy}"


def preprocess_of(survey: "Survey", data: Data, info: "WeightsInfo") -> Preprocess:
    """Join what the folder says (range, depth, grey) and what the weights say (mean, std, size)."""
    return Preprocess(
        range_policy=survey.policy,
        range_low=survey.low,
        range_high=survey.high,
        deep=survey.deep,
        grey=survey.grey,
        channels=tuple(data.channels),
        page=data.page,
        mean=info.mean,
        std=info.std,
        size=info.size,
    )
