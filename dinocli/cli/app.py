"""The Typer app.

Nothing here imports torch: `--help` must be fast, and shell completion runs this module on every TAB.
"""

import gc
import os
import resource
import signal
import sys
import traceback
from types import FrameType
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from dinocli import __version__
from dinocli.cli import (
    classify,
    cluster,
    compare,
    doctor,
    embed,
    evaluate,
    export,
    recipe,
    rerun,
    runs,
    search,
    segment,
    training,
)
from dinocli.cli.exit_codes import EXIT_CANNOT_WRITE, EXIT_CODES, error_message, exit_code, with_torch_mismatch
from dinocli.cli.help_page import Command, examples, with_metavars
from dinocli.cli.streams import ClosedOutputError, prepare_streams
from dinocli.cli.usage import is_main_process, print_error, repeated_option, usage_message
from dinocli.cores import limit_threads
from dinocli.errors import UsageError

MIN_ADDRESS_SPACE_BYTES = 4 << 30
TORCH_FREE_COMMANDS = ("recipe", "compare", "--version", "--install-completion", "--show-completion")

FIRST_COMMANDS = examples(
    "dinocli finetune-ssl ./images   # adapt; ends with a verdict",
    "dinocli embed --out feats.npy   # features with the weights to keep",
    "dinocli cluster                 # map, groups, copies, odd images",
)
EPILOG = (
    "Exit codes: 0 done, 1 internal error, 2 usage or recipe, 3 images, labels or other data, 4 weights, "
    "feature files, runs and detectors that are missing or cannot be used, or a missing extra, "
    "5 training stopped, 6 cannot write or out of memory, 130 Ctrl-C, 143 SIGTERM."
)


class Commands(TyperGroup):
    """Command group that turns errors into one line on stderr and an exit code."""

    def get_params(self, ctx: Any) -> Any:
        return with_metavars(super().get_params(ctx))

    def make_context(self, *arguments: Any, **more: Any) -> Any:
        try:
            return super().make_context(*arguments, **more)
        except Exception as error:
            if _is_usage_error(error):
                raise _usage_exit(error) from None
            if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):  # `--version > /dev/full`
                raise _error_exit(error) from None
            raise

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        resolved = super().resolve_command(ctx, args)
        if option := repeated_option(resolved[1], resolved[2]):
            print_error(f"{option} takes one value and is given several times; name one")
            raise typer.Exit(EXIT_CODES[UsageError])
        return resolved

    def invoke(self, ctx: Any) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()  # a full disk or a closed pipe must fail here, before the exit code is final
            return result
        except BrokenPipeError:  # the reader closed the pipe: no error
            _discard_stdout()
            raise typer.Exit(0) from None
        except Exception as error:
            if _is_usage_error(error):
                raise _usage_exit(error) from None
            if isinstance(error, typer.Abort) or hasattr(error, "exit_code"):
                raise  # Typer's own exits
            if ctx.meta.get("debug"):
                traceback.print_exc()
            raise _error_exit(with_torch_mismatch(error)) from None


def _error_exit(error: Exception) -> typer.Exit:
    """Print an error, and return the exception that exits with its code."""
    message = error_message(error)
    if is_main_process():
        print_error(message)
    _discard_stdout()
    return typer.Exit(exit_code(error))


def _is_usage_error(error: Exception) -> bool:
    """Return whether Typer rejected the command line; its exceptions are private, and a bare `dinocli` shows help."""
    return hasattr(error, "format_message") and type(error).__name__ != "NoArgsIsHelpError"


def _usage_exit(error: Any) -> typer.Exit:
    print_error(usage_message(error))
    return typer.Exit(EXIT_CODES[UsageError])


def _discard_stdout() -> None:
    """Discard unwritten output: Python would flush it at exit, fail again, and change the exit code."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


app = typer.Typer(
    name="dinocli",
    cls=Commands,
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=f"{FIRST_COMMANDS}\n\n{EPILOG}",
)


def _version(requested: bool) -> None:
    if requested:
        typer.echo(f"dinocli {__version__}")
        raise typer.Exit


@app.callback()
def _dinocli(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version and exit."
    ),
) -> None:
    """Adapt image features to your own images without labels; then search, group and segment the images.

    Each command uses the result of the previous one. No telemetry; works offline.
    """


ADAPT, USE, RUNS = "Adapt", "Use the features", "Runs, settings, machine"

for name, mode in training.TRAINING_COMMANDS.items():
    app.command(name, cls=Command, help=mode.help, epilog=mode.epilog, rich_help_panel=ADAPT)(training.training)
for panel, commands in {
    USE: (
        (embed.embed, embed.EPILOG),
        (search.search, search.EPILOG),
        (cluster.cluster, cluster.EPILOG),
        (classify.classify, classify.EPILOG),
        (segment.segment, segment.EPILOG),
        (evaluate.evaluate, evaluate.EPILOG),
        (export.export, export.EPILOG),
    ),
    RUNS: (
        (runs.runs, runs.EPILOG),
        (compare.compare, compare.EPILOG),
        (rerun.rerun, rerun.EPILOG),
        (doctor.doctor, doctor.EPILOG),
    ),
}.items():
    for function, epilog in commands:
        app.command(cls=Command, epilog=epilog, rich_help_panel=panel)(function)
app.add_typer(recipe.app, name="recipe", rich_help_panel=RUNS)


def _check_address_space(arguments: list[str]) -> None:
    """Exit with one line if the address space is too small for torch, whose C++ library would abort uncatchably.

    Measured with torch 2.14 on a CPU: `embed` of a tiny network runs in 4 GiB and not in 3.
    """
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    torch_free = not arguments or arguments[0] in TORCH_FREE_COMMANDS or not {"-h", "--help"}.isdisjoint(arguments)
    if torch_free or limit in (resource.RLIM_INFINITY, -1) or limit >= MIN_ADDRESS_SPACE_BYTES:
        return
    message = f"the address space is limited to {limit / 2**30:.1f} GiB and torch needs 4; raise the limit (ulimit -v)"
    print_error(message)
    raise SystemExit(EXIT_CANNOT_WRITE)


def _terminated(number: int, _: FrameType | None) -> NoReturn:
    typer.echo("dinocli: stopped by a signal", err=True)
    raise SystemExit(128 + number)


def main() -> None:
    """Run the command line."""
    limit_threads(os.environ)
    try:
        prepare_streams()
    except ClosedOutputError as error:
        typer.echo(f"dinocli: {error}", err=True)
        raise SystemExit(EXIT_CANNOT_WRITE) from None
    if not int("0" + "".join(filter(str.isdecimal, os.environ.get("COLUMNS", "80")))):
        del os.environ["COLUMNS"]  # Rich would print help pages of width 0
    _check_address_space(sys.argv[1:])
    # Without a handler SIGTERM leaves temporary files behind. Resumable commands install their own handlers.
    signal.signal(signal.SIGTERM, _terminated)
    try:
        app()
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # Rich exits with 1 if the reader of a help page has quit
            raise SystemExit(0) from None
        raise
    finally:
        gc.freeze()  # skip the final collection over a million objects of torch, which takes a second
