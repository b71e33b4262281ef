"""The app, and the one table from errors to exit codes.

Nothing here imports torch: `--help` has to answer at once, and the shell's completion runs this on every TAB.
"""

import errno
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
from dinocli.cli.streams import ClosedOutputError, settle_streams
from dinocli.cli.usage import repeated_option, usage_sentence
from dinocli.cores import settle_threads
from dinocli.errors import (
    DataError,
    DinocliError,
    Interrupted,
    TrainingStopped,
    UsageError,
    WeightsError,
    is_out_of_memory,
)
from dinocli.report.text import visible

BUG = 1
EXIT_CODES: dict[type[DinocliError], int] = {UsageError: 2, DataError: 3, WeightsError: 4, TrainingStopped: 5}
CANNOT_WRITE = 6

ELSEWHERE = "choose another place"
HINTS = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.EFBIG: "raise the limit of file sizes (ulimit -f)",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
}

LEAST_ADDRESS_SPACE = 4 << 30
WITHOUT_TORCH = ("recipe", "compare", "--version", "--install-completion", "--show-completion")

EPILOG = (
    "Exit codes: 0 done, 1 a bug of ours, 2 usage or recipe, 3 data, 4 weights or a missing extra, 5 training stopped, "
    "6 cannot write or out of memory, 130 Ctrl-C, 143 SIGTERM."
)


def exit_code(error: BaseException) -> int:
    """Look an error up in the table."""
    if isinstance(error, Interrupted):
        return 128 + error.signal
    for kind, code in EXIT_CODES.items():
        if isinstance(error, kind):
            return code
    if isinstance(error, OSError) or is_out_of_memory(error):
        return CANNOT_WRITE
    return BUG


def sentence(error: BaseException) -> str:
    """Say in one line what happened and what to do."""
    text = " ".join(str(error).split())
    code = exit_code(error)
    if isinstance(error, DinocliError):
        return text
    if isinstance(error, OSError):
        given = not {"--out", "-o"}.isdisjoint(word.partition("=")[0] for word in sys.argv)
        elsewhere = f"{ELSEWHERE} with --out" if given else ELSEWHERE  # not every command has it
        return text if isinstance(error, ClosedOutputError) else f"{text}; {HINTS.get(error.errno or 0, elsewhere)}"
    if code == CANNOT_WRITE:
        return "out of memory; use a smaller --batch-size"
    return f"a bug of ours: {type(error).__name__}: {text}; run it again with --debug and report what it prints"


def explained(error: Exception) -> Exception:
    """Return the cause of what looks like a bug: torch and torchvision that do not fit fail in many places."""
    if exit_code(error) != BUG:
        return error
    from dinocli.config.installed_packages import torch_mismatch

    mismatch = torch_mismatch()
    return WeightsError(mismatch) if mismatch else error


class Commands(TyperGroup):
    """Turns errors into one line on stderr and an exit code."""

    def make_context(self, *arguments: Any, **more: Any) -> Any:
        try:
            return super().make_context(*arguments, **more)
        except Exception as error:
            if _is_usage(error):
                raise _refused(error) from None
            if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):  # `--version > /dev/full`
                raise _ended(error) from None
            raise

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        found = super().resolve_command(ctx, args)
        if option := repeated_option(found[1], found[2]):
            typer.echo(f"dinocli: {option} takes one value and is given several times; name one", err=True)
            raise typer.Exit(EXIT_CODES[UsageError])
        return found

    def invoke(self, ctx: Any) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()  # a full disk or a closed pipe shows here, not after the exit code is settled
            return result
        except BrokenPipeError:  # the reader has closed the pipe, which is no error
            _settle_stdout()
            raise typer.Exit(0) from None
        except Exception as error:
            if _is_usage(error):
                raise _refused(error) from None
            if isinstance(error, typer.Abort) or hasattr(error, "exit_code"):
                raise  # Typer's own ways out
            if ctx.meta.get("debug"):
                traceback.print_exc()
            raise _ended(explained(error)) from None


def _ended(error: Exception) -> typer.Exit:
    """Tell an error, and return the way out with its exit code."""
    words = visible(sentence(error)) if sys.stderr.isatty() else sentence(error)  # names are foreign input
    if not os.environ.get("RANK", "").strip("0").isdecimal():  # of several processes one speaks
        typer.echo(f"dinocli: {words}", err=True)
    _settle_stdout()
    return typer.Exit(exit_code(error))


def _is_usage(error: Exception) -> bool:
    """Whether Typer refused the command line; its exceptions are private, and a bare `dinocli` shows its help."""
    return hasattr(error, "format_message") and type(error).__name__ != "NoArgsIsHelpError"


def _refused(error: Any) -> typer.Exit:
    typer.echo(f"dinocli: {usage_sentence(error)}", err=True)
    return typer.Exit(EXIT_CODES[UsageError])


def _settle_stdout() -> None:
    """Drop what stdout did not take: Python would try again at exit, fail again, and end with a code of its own."""
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
    epilog=EPILOG,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"dinocli {__version__}")
        raise typer.Exit


@app.callback()
def _dinocli(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version and exit."
    ),
) -> None:
    """Continue DINO training on your own images: no labels, no telemetry, works offline."""


for name, way in training.WAYS.items():
    app.command(name, help=way.help, epilog=way.epilog)(training.training)
app.command("embed", epilog=embed.EPILOG)(embed.embed)
app.command("evaluate", epilog=evaluate.EPILOG)(evaluate.evaluate)
app.command("compare", epilog=compare.EPILOG)(compare.compare)
app.command("search", epilog=search.EPILOG)(search.search)
app.command("cluster", epilog=cluster.EPILOG)(cluster.cluster)
app.command("classify", epilog=classify.EPILOG)(classify.classify)
app.command("export", epilog=export.EPILOG)(export.export)
app.command("segment", epilog=segment.EPILOG)(segment.segment)
app.command("runs", epilog=runs.EPILOG)(runs.runs)
app.command("rerun", epilog=rerun.EPILOG)(rerun.rerun)
app.command("doctor", epilog=doctor.EPILOG)(doctor.doctor)
app.add_typer(recipe.app, name="recipe")


def _check_address_space(arguments: list[str]) -> None:
    """End with one line where torch would end in an abort of its C++ library, which nothing can catch.

    Measured with torch 2.14 on a CPU: `embed` of a tiny network runs in 4 GiB and not in 3.
    """
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    light = not arguments or arguments[0] in WITHOUT_TORCH or not {"-h", "--help"}.isdisjoint(arguments)
    if light or limit in (resource.RLIM_INFINITY, -1) or limit >= LEAST_ADDRESS_SPACE:
        return
    words = f"the address space is limited to {limit / 2**30:.1f} GiB and torch needs 4; raise the limit (ulimit -v)"
    typer.echo(f"dinocli: {words}", err=True)
    raise SystemExit(CANNOT_WRITE)


def _terminated(number: int, _: FrameType | None) -> NoReturn:
    typer.echo("dinocli: stopped by a signal", err=True)
    raise SystemExit(128 + number)


def main() -> None:
    """Run the command line."""
    settle_threads(os.environ)
    try:
        settle_streams()
    except ClosedOutputError as error:
        typer.echo(f"dinocli: {error}", err=True)
        raise SystemExit(CANNOT_WRITE) from None
    if not int("0" + "".join(filter(str.isdecimal, os.environ.get("COLUMNS", "80")))):
        del os.environ["COLUMNS"]  # Rich would print help pages of no width
    _check_address_space(sys.argv[1:])
    # A plain SIGTERM would leave temporary files behind. Commands that can be resumed have handlers of their own.
    signal.signal(signal.SIGTERM, _terminated)
    try:
        app()
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # Rich answers 1 when the reader of a help page has left
            raise SystemExit(0) from None
        raise
    finally:
        gc.freeze()  # Python would visit the million objects of torch once more: a second, silent, after the result
