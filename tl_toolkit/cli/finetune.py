"""``tl finetune``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from tl_toolkit.cli import console
from tl_toolkit.cli.early import check_early
from tl_toolkit.cli.loading import loading
from tl_toolkit.cli.options import UNREADABLE, JsonOption, TrustOption, given, takes_settings
from tl_toolkit.config import FinetuneConfig, read_config_file
from tl_toolkit.cpu_usage import usage
from tl_toolkit.errors import UsageError


@takes_settings
def finetune(
    *,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="YAML file of settings; flags win over it.")
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="Go on with a run that was stopped or killed, exactly where its last checkpoint left it; with more "
            "--epochs also with a finished one.",
        ),
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print the run's folder, and warnings on stderr; nothing else.")
    ] = False,
    as_json: JsonOption = False,
    trust: TrustOption = False,
    **settings: Any,
) -> None:
    """Fine-tune a pretrained network on your images and write a run folder.

    Without any option: the network that suits the handwritten digits that come with tl, offline.
    """
    started = usage()  # A time budget counts the imports below.
    flags = given(settings)
    if resume and config:
        raise UsageError("--resume reads the run's own config.yaml: leave out --config.")
    chosen = FinetuneConfig.from_values(read_config_file(config) if config else {}, flags)
    check_early(run=resume) if resume else check_early(data=chosen.data, out=chosen.out)
    with loading(quiet):
        from tl_toolkit.cli.progress import Narration
        from tl_toolkit.recipes import finetune as recipe

    narrator = console.narrator(to_stderr=as_json or quiet)
    with Narration(narrator, quiet) as narration:
        if resume:
            run = recipe.resume(resume, flags, listener=narration, trust=trust, started=started)
        else:
            run = recipe.finetune(chosen, listener=narration, trust=trust, started=started)
    if as_json:
        console.tell_json(run.summary)
    elif quiet:
        console.tell_result(str(run.path))
    else:
        _tell_results(run.summary)
        console.print_classes(run.summary["class_accuracy"])
        console.print_files(narrator, narration.written)
        console.tell_result("\nTry it: tl predict IMAGE")
    if run.summary["bad_images"]:
        raise typer.Exit(UNREADABLE)


def _tell_results(summary: dict[str, Any]) -> None:
    rows = [["val", f"{summary['val_images']:,}", console.percent(summary["val_accuracy"])]]
    if summary["test_accuracy"] is not None:
        rows.append(["test", f"{summary['test_images']:,}", console.percent(summary["test_accuracy"])])
    title = f"\n{summary['run']} after {summary['seconds']:.0f} s"
    if stages := summary.get("stages"):  # Runs of earlier versions do not have it.
        reached = ", ".join(f"{stage} {console.percent(accuracy)}" for stage, accuracy in stages.items())
        title += f"\nkept: {summary['best_stage']} epoch {summary['best_epoch']}, of val at best: {reached}"
    console.print_table(["split", "images", "accuracy"], rows, title, numbers=2)
