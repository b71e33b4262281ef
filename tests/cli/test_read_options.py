"""Parsing of the options for reading images, which all commands share."""

from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from dinocli.cli.option_groups import grouped, read_options
from dinocli.errors import UsageError
from dinocli.tasks.inputs import ReadOptions


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
