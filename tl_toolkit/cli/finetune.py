"""``tl finetune``."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from tl_toolkit.cli import console, options
from tl_toolkit.cli.early import check_early
from tl_toolkit.cli.loading import loading
from tl_toolkit.config.config_file import read_config_file
from tl_toolkit.config.finetune import FinetuneConfig
from tl_toolkit.errors import UsageError
from tl_toolkit.system.cpu_usage import usage
from tl_toolkit.system.processes import launched


@options.with_config_flags
def finetune(
    *,
    images: options.DataArgument = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="YAML file of settings; flags override it.")
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="Resume a run that was stopped or killed, exactly from its last checkpoint; with more --epochs, "
            "train a finished run for longer. --data says where moved images are.",
        ),
    ] = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Print every choice, class and file, with reasons.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print only the run folder, and warnings on stderr.")
    ] = False,
    as_json: options.JsonOption = False,
    trust: options.TrustOption = False,
    **settings: Any,
) -> None:
    """Fine-tune a pretrained network on your images and write a run folder.

    Without options, train the network that suits the handwritten digits that come with tl, offline.
    """
    started = usage()  # A time budget counts the imports below.
    flags = options.flags_set(settings)
    if (data := options.only_data(images, flags.get("data"))) is not None:
        flags["data"] = data
    if resume and config:
        raise UsageError("--resume reads the run's own config.yaml: leave out --config.")
    if quiet and verbose:
        raise UsageError("--quiet and --verbose are opposites: leave out one.")
    requested = FinetuneConfig.from_values(read_config_file(config) if config else {}, flags)
    first = launched().is_first
    if not first:  # The first process prints, and writes the run folder.
        check_early(data=None if resume else requested.data)
        quiet, verbose = True, False
    else:
        check_early(run=resume) if resume else check_early(data=requested.data, out=requested.out)
    with loading(quiet):
        from tl_toolkit.cli.progress import ProgressDisplay
        from tl_toolkit.cli.results import print_results
        from tl_toolkit.recipes import finetune as recipe

    with ProgressDisplay(console.status_console(to_stderr=as_json or quiet), quiet, verbose) as display:
        if resume:
            run = recipe.resume(resume, **flags, callback=display, trust=trust, started=started)
        else:
            run = recipe.finetune(requested, callback=display, trust=trust, started=started)
    if not first:
        pass
    elif as_json:
        console.print_json(run.summary)
    elif quiet:
        console.print_result(str(run.path))
    else:
        trained = time.perf_counter() - started.time if display.written else None
        print_results(run.path, run.summary, display.written, trained, verbose)
    if run.summary["bad_images"]:
        raise typer.Exit(options.UNREADABLE)
