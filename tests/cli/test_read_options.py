"""Options of commands: those of reading images, and which parameter becomes which field of the library's options."""

import inspect
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from dinocli.cli.classify import classify
from dinocli.cli.cluster import cluster
from dinocli.cli.embed import embed
from dinocli.cli.evaluate import evaluate
from dinocli.cli.option_groups import grouped, read_options
from dinocli.cli.search import search
from dinocli.cli.segment import segment
from dinocli.cli.training import training
from dinocli.errors import UsageError
from dinocli.tasks.classify.classify_options import ClassifyOptions
from dinocli.tasks.cluster.cluster_options import ClusterOptions
from dinocli.tasks.embed.embed_options import EmbedOptions
from dinocli.tasks.evaluate.evaluate_options import EvaluateOptions
from dinocli.tasks.inputs import ReadOptions
from dinocli.tasks.search.search_options import SearchOptions
from dinocli.tasks.segment.segment_options import MaskOutputs, SegmentOptions
from dinocli.tasks.train.train_options import TrainOptions

PRESENTATION = {"json", "quiet", "debug", "dry_run", "gpus"}
RECIPE = {"cache", "weights", "model", "teacher", "settings", "steps", "batch_size", "seed"}
METHOD = {"objects", "segments", "head", "threshold", "features"}


def parsed(*arguments: str) -> ReadOptions:
    app, found = typer.Typer(), []

    @app.command()
    @grouped(read=read_options)
    def command(read: Any = None) -> None:
        found.append(read)

    result = CliRunner().invoke(app, arguments)
    if result.exception:
        raise result.exception
    read = found[0]
    assert isinstance(read, ReadOptions)
    return read


def test_nodata_is_any_number_of_values() -> None:
    assert parsed().nodata is None
    assert parsed("--nodata", "-9999", "--nodata", "65535").nodata == (-9999.0, 65535.0)
    assert parsed("--nodata", "nan", "--nodata", "-3.4e38").nodata == (-3.4e38,)


def test_channels_have_one_grammar() -> None:
    assert parsed("--channels", "0,2,3").channels == (0, 2, 3)
    assert parsed("--channels", "page").channels == ("page",)
    assert parsed("--channels", "C:DAPI,1").channels == ("C:DAPI", 1)
    for text in ("-1", "0,page", "0,"):
        with pytest.raises(UsageError, match=rf"--channels '{text}'"):
            parsed("--channels", text)


@pytest.mark.parametrize(
    ("command", "kinds", "computed"),
    [
        (classify, [ClassifyOptions], set()),
        (cluster, [ClusterOptions], {"map_"}),
        (embed, [EmbedOptions], {"images", "merge"}),
        (evaluate, [EvaluateOptions], set()),
        (search, [SearchOptions], set()),
        (segment, [SegmentOptions, MaskOutputs], {"images"} | METHOD),
        (training, [TrainOptions], {"ctx", "images"} | RECIPE),
    ],
)
def test_a_parameter_is_an_option_of_the_library_or_computed(
    command: Callable[..., None], kinds: list[Any], computed: set[str]
) -> None:
    """`options_of` takes parameters by name: one with another name would be dropped in silence."""
    known = {field.name for kind in (*kinds, ReadOptions) for field in fields(kind)}
    assert {*inspect.signature(command).parameters} - known - PRESENTATION - {"range_"} == computed


@pytest.mark.parametrize("command", [classify, cluster, embed, evaluate, search, segment])
def test_options_that_are_not_given_have_the_defaults_of_the_library(command: Callable[..., None]) -> None:
    kinds = [ClassifyOptions, ClusterOptions, EmbedOptions, EvaluateOptions, SearchOptions, SegmentOptions, MaskOutputs]
    chosen = [k for k in kinds if k.__name__.lower().startswith(command.__name__) or k is MaskOutputs]
    defaults = {field.name: field.default for kind in (*chosen, ReadOptions) for field in fields(kind)}
    empty = {"labels": (), "k": 0, "duplicates": -1.0}
    shared = [p for p in inspect.signature(command).parameters.values() if p.name in defaults and p.default is not None]
    assert len(shared) > 5
    for parameter in shared:
        if parameter.name not in empty and parameter.name != "box":
            assert parameter.default == defaults[parameter.name], parameter.name
