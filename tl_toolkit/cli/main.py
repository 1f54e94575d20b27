"""``tl``: the commands, and the exit codes of errors."""

import contextlib
import gc
import io
import itertools
import logging
import os
import sys
import time
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from tl_toolkit.cli import (
    cache,
    compare,
    console,
    data,
    evaluate,
    export,
    finetune,
    import_model,
    inspect,
    models,
    options,
    plot,
    predict,
    push,
    rank,
    report,
    runs,
    serve,
)
from tl_toolkit.errors import ReportedElsewhereError, RunInterruptedError, ToolkitError, UsageError
from tl_toolkit.system import allocator
from tl_toolkit.system.processes import World, launched
from tl_toolkit.text import naming_flags
from tl_toolkit.version import __version__

FAILURE, USAGE, INTERRUPTED = 1, 2, 130

TELLING_SECONDS = 0.5
"""How long the other processes wait for the first one to say what failed: the launcher ends all when one ends."""

GARBAGE_THRESHOLD = 1_000_000
"""Python's default of 700 collects garbage again and again while torch is imported: a third of the start-up time."""

COMPILER = "torch._dynamo"
"""Python collects torch's garbage when it exits, which takes a fifth of the time of a prediction. Freezing the objects
skips that, except where torch's compiler was imported: its bindings would report the objects that remain."""


class Commands(TyperGroup):
    """A group of commands that turns the toolkit's errors, and Ctrl-C, into a message and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command.

        Raises:
            typer.Exit: The command failed; the reason is printed.
        """
        try:
            with naming_flags():
                _refuse_empty(ctx.args)
                _quiet_torch()
                _refuse_several(getattr(ctx, "_protected_args", []))
                allocator.tune()
                return super().invoke(ctx)
        except RunInterruptedError as error:
            if not _rank():
                console.print_warning(str(error))
            raise typer.Exit(INTERRUPTED) from error
        except ReportedElsewhereError as error:
            time.sleep(TELLING_SECONDS)
            raise typer.Exit(FAILURE) from error
        except ToolkitError as error:
            rank = _rank()
            console.print_error(f"process {rank}: {error}" if rank else str(error))
            raise typer.Exit(USAGE if isinstance(error, UsageError) else FAILURE) from error
        except ModuleNotFoundError as error:
            if (missing := (error.name or "").partition(".")[0]) in ("", __package__.partition(".")[0]):
                raise
            console.print_error(
                f"This needs the package {missing}, which is not installed: pip install tl_toolkit installs all. "
                "Without PyTorch, tl predict takes .onnx files."
            )
            raise typer.Exit(FAILURE) from error
        except KeyboardInterrupt as error:
            console.print_error("Interrupted.")
            raise typer.Exit(INTERRUPTED) from error


def _rank() -> int:
    """Return the number of this process among those that a launcher started."""
    with contextlib.suppress(UsageError):
        return launched().rank
    return 0


def _quiet_torch() -> None:
    """Keep torch from printing each connection to a process that ended: the error says which one did, and why."""
    with contextlib.suppress(UsageError):
        if launched().size > 1:
            os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # Read when torch is imported.


def _refuse_several(arguments: list[str]) -> None:
    """Refuse a command that works in one process if a launcher started several.

    Raises:
        UsageError: The command is another than finetune.
    """
    if not arguments or arguments[0] == "finetune":
        return
    here = World()
    with contextlib.suppress(UsageError):  # Variables of something else.
        here = launched()
    if here.size == 1:
        return
    if not here.is_first:
        raise ReportedElsewhereError(arguments[0])
    raise UsageError(
        f"tl {arguments[0]} works in one process, but {here.size} were started: start it without torchrun or "
        "accelerate launch."
    )


def _refuse_empty(arguments: list[str]) -> None:
    """Refuse the empty value that an unset shell variable leaves: as a path it would be the current folder.

    Raises:
        UsageError: An argument, or the value of a flag, is empty.
    """
    for before, argument in itertools.pairwise(["", *arguments]):
        flag, equals, value = argument.partition("=") if argument.startswith("--") else ("", "", argument)
        if (flag and not equals) or value.strip():
            continue
        what = next((name for name in (flag, before) if name.startswith("-")), "An argument")
        raise UsageError(f"{what} is empty, perhaps a variable that is not set. Give it a value, or leave it out.")


app = typer.Typer(
    cls=Commands,
    name="tl",
    help="Fine-tune pretrained image networks on your own classes.\n\n"
    "Begin with `tl finetune`, then `tl predict IMAGE`.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(options.with_flowing_help(finetune.finetune))
app.command()(options.with_flowing_help(predict.predict))
app.command()(options.with_flowing_help(evaluate.evaluate))
app.command()(options.with_flowing_help(compare.compare))
app.command(cls=export.ExportCommand)(options.with_flowing_help(export.export))
app.command("import")(options.with_flowing_help(import_model.import_model))
app.command()(options.with_flowing_help(inspect.inspect))
app.command()(options.with_flowing_help(push.push))
app.command()(options.with_flowing_help(rank.rank))
app.command()(options.with_flowing_help(plot.plot))
app.command()(options.with_flowing_help(report.report))
app.command()(options.with_flowing_help(serve.serve))
app.add_typer(runs.app, name="runs")
app.add_typer(models.app, name="models")
app.add_typer(data.app, name="data")
app.add_typer(cache.app, name="cache")


def _print_version(wanted: bool) -> None:
    if wanted:
        console.print_result(f"tl_toolkit {__version__}")
        raise typer.Exit


@app.callback(
    epilog="Exit codes: 0 done, 1 failed, 2 wrong usage, 3 done but some images could not be read, 130 stopped by "
    "Ctrl-C or SIGTERM."
)
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Entry point of the command ``tl``."""
    gc.set_threshold(GARBAGE_THRESHOLD)
    logging.getLogger("tl_toolkit").addHandler(console.LogHandler(logging.WARNING))
    for stream in (sys.stdout, sys.stderr):  # A file name may hold bytes that are no text.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    finally:
        if COMPILER not in sys.modules:
            gc.freeze()
