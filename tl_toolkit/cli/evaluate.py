"""``tl evaluate``."""

from typing import Annotated, Any

import typer

from tl_toolkit.cli import console
from tl_toolkit.cli.early import check_early
from tl_toolkit.cli.evaluation import as_csv, as_json, print_evaluation, whole_figures
from tl_toolkit.cli.loading import loading
from tl_toolkit.cli.options import (
    UNREADABLE,
    DataArgument,
    DeviceOption,
    FormatOption,
    JsonFormatOption,
    ModelOption,
    PrecisionOption,
    ThreadsOption,
    TrustOption,
    WorkersOption,
    chosen_format,
    flags_set,
    only_data,
    with_source_flags,
)
from tl_toolkit.config.choices import KINDS
from tl_toolkit.errors import UsageError
from tl_toolkit.io.files import display_data, display_path


@with_source_flags
def evaluate(
    *,
    images: DataArgument = None,
    model: ModelOption = None,
    data: Annotated[
        str | None,
        typer.Option(help=f"Images: {KINDS}.", show_default="what the model was trained on"),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(help="train, val or test.", show_default="test, else val, else what the model did not learn from"),
    ] = None,
    workers: WorkersOption = None,
    threads: ThreadsOption = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    trust: TrustOption = False,
    output: FormatOption = None,
    json_format: JsonFormatOption = False,
    **reading: Any,
) -> None:
    """Evaluate a model on labelled images: figures with 95 % intervals.

    Top-1, top-5, balanced accuracy, F1, ROC AUC, calibration and loss; precision
    and recall of each class; which classes are taken for which; and how many more
    answers are right if only sure ones count. With several labels an image: mean
    average precision (mAP), F1, and the figures of each label.

    Classes are matched by name. Of its own training data, a model is evaluated
    on what it has not seen. If it learned from some of the images, their share
    is shown.
    """
    data, chosen = only_data(images, data), chosen_format(output, json_format)
    from tl_toolkit.runs.folder import newest_run

    place = model or str(newest_run())
    check_early(model=place, data=data)
    with loading():
        from tl_toolkit.cli.progress import ProgressDisplay
        from tl_toolkit.data.sources.base import SourceOptions
        from tl_toolkit.events import DecisionEvent, download_progress
        from tl_toolkit.inference.loading import load
        from tl_toolkit.inference.scoring import open_labelled
        from tl_toolkit.recipes.evaluate import evaluate

    with ProgressDisplay(console.status_console(to_stderr=True)) as display:
        loaded = load(place, device=device, precision=precision, trust=trust)
        display(DecisionEvent("model", display_path(place), "" if model else "the newest run"))
        spec = data or loaded.metadata.training.get("data")
        if not spec:
            raise UsageError(f"{place} does not say what it was trained on: say --data.")
        display(DecisionEvent("data", display_data(spec), "" if data else "what the model was trained on"))
        learned_with = {"task": loaded.task} if data else loaded.metadata.training
        settings = {**learned_with, **flags_set(reading)}
        source = open_labelled(spec, SourceOptions.from_settings(settings, download_progress(display)))
        result = evaluate(loaded, source, split, workers=workers, threads=threads, callback=display)
    if chosen == "json":
        console.print_json(as_json(result, place, spec))
    elif chosen == "csv":
        console.write_lines(as_csv(result), "surrogateescape")
        display(DecisionEvent("all images", whole_figures(result), ""))
    else:
        print_evaluation(result, loaded.metadata.temperature)
    if result.bad_images:
        console.print_bad_images([(image.path, image.reason) for image in result.bad_images])
        raise typer.Exit(UNREADABLE)
