"""Types of the settings of a recipe, and the base of its sections, which rejects implausible values."""

from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from dinocli.stored import usable_name


def _ordered(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] > pair[1]:
        raise ValueError("write the smaller value first")
    return pair


def _in_float32(value: float) -> float:
    """Reject numbers that are infinite or 0 in float32."""
    if value and not 1e-30 <= value <= 1e30:
        raise ValueError("write a number between 1e-30 and 1e30")
    return value


MAX_INTEGER = 2**31 - 1
"""Largest integer setting: steps, images, seeds."""

MAX_VIEW_PIXELS = 1 << 14
"""Largest side of a view, pixels."""

Auto = Literal["auto"]
Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False), AfterValidator(_in_float32)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False), AfterValidator(_in_float32)]
Interval = Annotated[tuple[Positive, Positive], AfterValidator(_ordered)]
Pixels = Annotated[int, Field(ge=16, le=MAX_VIEW_PIXELS)]
Share = Annotated[float, Field(gt=0, le=1)]
Scale = Annotated[tuple[Share, Share], AfterValidator(_ordered)]
PerView = tuple[Fraction, Fraction, Fraction]
Trainable = Annotated[str, Field(pattern=r"^(all|last-[1-9][0-9]*|lora|attn-proj|norms)$")]


class Section(BaseModel):
    """Base of the sections of a recipe: immutable, without unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("*", mode="before")
    @classmethod
    def _plausible(cls, value: object, info: ValidationInfo) -> object:
        """Reject values that the types accept: `run.steps=true` would be 1 step, and huge integers overflow."""
        for item in value if isinstance(value, list | tuple) else [value]:
            if isinstance(item, bool) and not _accepts_bool(cls, str(info.field_name)):
                raise ValueError("write a number or a word, not true or false")
            if isinstance(item, int) and abs(item) > MAX_INTEGER:
                raise ValueError(f"a whole number has to lie within {MAX_INTEGER}")
            if isinstance(item, str):
                usable_name(item)
        return value


def _accepts_bool(section: type[BaseModel], key: str) -> bool:
    annotation = section.model_fields[key].annotation
    return annotation is bool or bool in get_args(annotation)
