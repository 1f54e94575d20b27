"""``tl predict``."""

import glob
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from difflib import get_close_matches
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tl_toolkit.cli import console
from tl_toolkit.cli.early import check_early
from tl_toolkit.cli.loading import loading
from tl_toolkit.cli.options import (
    UNREADABLE,
    DeviceOption,
    ModelOption,
    PrecisionOption,
    ThreadsOption,
    TrustOption,
)
from tl_toolkit.cli.prediction_format import Format, PredictionFormat
from tl_toolkit.errors import MAX_SUGGESTIONS, UsageError
from tl_toolkit.io.files import atomic_file, check_new_file, display_path
from tl_toolkit.io.reader_threads import call_with_stall_guard
from tl_toolkit.system.cores import limited_to
from tl_toolkit.text import join_names, plural

if TYPE_CHECKING:
    from tl_toolkit.inference.classifier import ImageClassifier
    from tl_toolkit.inference.prediction import FailedPrediction, Prediction
    from tl_toolkit.inference.predictor import Predictor
    from tl_toolkit.report.image_grid import LabelledImage

    Result = Prediction | FailedPrediction

STDIN = "-"


def predict(
    ctx: typer.Context,
    images: Annotated[
        list[str] | None,
        typer.Argument(
            help="Images, folders, globs; - reads paths from stdin. Optional with --grid.", show_default=False
        ),
    ] = None,
    model: ModelOption = None,
    top_k: Annotated[int, typer.Option(min=1, help="Number of classes to name for each image.")] = 5,
    threshold: Annotated[
        float | None,
        typer.Option(
            help="Of several labels an image, name those with at least this probability.",
            show_default="chosen for each label on val",
        ),
    ] = None,
    output: Annotated[
        Format | None, typer.Option("--format", "-f", help="How to print.", show_default="as --out ends, or table")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write to this file instead of the terminal.")] = None,
    abstain_below: Annotated[
        float | None,
        typer.Option(help='Say "not sure" where the likeliest class has a lower probability.', show_default=False),
    ] = None,
    no_calibration: Annotated[
        bool,
        typer.Option("--no-calibration", help="Give the probabilities that the network gives, before calibration."),
    ] = False,
    grid: Annotated[
        Path | None,
        typer.Option(
            help="Draw images with truth and prediction to this .png, .pdf or .svg file; without IMAGES, images from "
            "the model's own data: test, or others that it has not seen."
        ),
    ] = None,
    explain: Annotated[
        Path | None,
        typer.Option(
            help="Draw which parts of the images speak for their likeliest class to this .png, .pdf or .svg file.",
            show_default=False,
        ),
    ] = None,
    threads: ThreadsOption = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    trust: TrustOption = False,
) -> None:
    """Name the likeliest classes of images, or of several labels those that are there.

    A probability says how sure the network is among the classes that it knows. It
    is calibrated on the run's val images: of images like them at 90 %, about nine
    in ten are right. There is no "none of these": a model of ants and bees calls a
    flower one of the two, perhaps at 100 %. But an image is marked as unknown if
    it is farther from the training images than 95 % of val.

    Models of earlier versions, and those of several labels, are not calibrated and
    mark nothing.
    """
    chosen = _format(output, out)
    _check_files(images, out, grid, explain)
    from tl_toolkit.runs.folder import newest_run

    place = model or str(newest_run())
    check_early(model=place)
    from tl_toolkit.cli.progress import ProgressDisplay
    from tl_toolkit.inference.loading import load_predictor, needs_torch
    from tl_toolkit.recipes.predict import find_images, predict_stream

    if needs_torch(place):
        ctx.with_resource(_import_torch(threads))
    else:
        _check_drawing(place, images, grid, explain)
        ctx.with_resource(limited_to(threads))
    paths = find_images(_paths(images or []), ProgressDisplay(console.status_console(to_stderr=True)))
    first = next(paths, None)
    if images and first is None:
        raise UsageError(_nothing_in(images))
    loaded = load_predictor(place, device=device, precision=precision, trust=trust, threads=threads)
    if threshold is not None:
        loaded = loaded.with_threshold(threshold)
    if no_calibration:
        loaded = loaded.without_calibration()
    loaded.check_abstaining(abstain_below)
    status = console.status_console(to_stderr=True)
    console.print_row(status, "model", display_path(place), "" if model else "the newest run")
    if chosen == "table":
        console.print_blank(status)
    if first is None:
        assert grid is not None  # Else there would be IMAGES.
        _draw_own_images(_network(loaded), place, grid)
        return
    counter = ResultCounter(_max_images() if grid or explain else 0)
    results = counter.count(predict_stream(loaded, chain([first], paths), top_k, abstain_below))
    judged = ("abstained",) * (abstain_below is not None) + ("novelty", "unknown") * loaded.marks_unknown
    _write(results, chosen, out, PredictionFormat(several=loaded.task == "multi-label", judged=judged))
    if grid is not None and counter.first:
        from tl_toolkit.report.sample_images import predicted_images

        which = "all" if counter.done == len(counter.first) else "the first"
        _draw(predicted_images(loaded, counter.first), grid, which)
    if explain is not None and counter.first:
        _draw_explained(_network(loaded), counter, explain)
    _print_counts(counter, abstain_below)
    if counter.failed:
        console.print_warning(f"{counter.failed} could not be read.")
        raise typer.Exit(UNREADABLE)


def _import_torch(threads: int | None) -> AbstractContextManager[object]:
    """Import what a network of torch's needs, and return a context that limits its threads."""
    with loading():
        from tl_toolkit.inference import network_files as network_files
        from tl_toolkit.training.threads import torch_threads
    return torch_threads(threads)


def _check_drawing(place: str, images: list[str] | None, grid: Path | None, explain: Path | None) -> None:
    """Refuse pictures that an ONNX file has too little for.

    Raises:
        UsageError: One is asked for.
    """
    if explain is not None:
        raise UsageError(
            f"--explain needs the network's layers and gradients, which the ONNX file {place} does not give. Give the "
            "run that it was exported from."
        )
    if not images and grid is not None:
        raise UsageError(
            f"The ONNX file {place} does not say which images it has not seen: say which IMAGES --grid is to draw, or "
            "give the run that it was exported from."
        )


def _network(loaded: "Predictor") -> "ImageClassifier":
    """Return a model of torch's, as `_check_drawing` left no other one."""
    from tl_toolkit.inference.classifier import ImageClassifier

    assert isinstance(loaded, ImageClassifier)
    return loaded


class ResultCounter:
    """Counts results as they pass, and keeps the first predictions for a grid.

    Args:
        max_kept: How many to keep.
    """

    def __init__(self, max_kept: int) -> None:
        self._max_kept = max_kept
        self.done = self.failed = self.unknown = self.abstained = 0
        self.first: list[Prediction] = []

    def count(self, results: "Iterable[Result]") -> "Iterator[Result]":
        """Yield the same results."""
        from tl_toolkit.inference.prediction import FailedPrediction

        for result in results:
            self.done += 1
            if isinstance(result, FailedPrediction):
                self.failed += 1
            else:
                self.unknown += bool(result.unknown)
                self.abstained += bool(result.abstained)
                if len(self.first) < self._max_kept:
                    self.first.append(result)
            yield result


def _print_counts(counter: ResultCounter, abstain_below: float | None) -> None:
    """Print how many images are unlike those of training, and how many got no answer, on stderr."""
    status, predicted = console.status_console(to_stderr=True), counter.done - counter.failed
    if counter.unknown:
        images = f"{counter.unknown:,} of {plural(predicted, 'image')}"
        console.print_row(status, "unknown", images, "unlike the training images; the classes may be wrong")
    if counter.abstained:
        images = f"{counter.abstained:,} of {plural(predicted, 'image')}"
        console.print_row(status, "not sure", images, f"the likeliest class is below {console.percent(abstain_below)}")


def _max_images() -> int:
    from tl_toolkit.report.image_grid import MAX_IMAGES  # With it comes matplotlib, which nothing else here needs.

    return MAX_IMAGES


def _check_files(images: list[str] | None, out: Path | None, grid: Path | None, explain: Path | None) -> None:
    """Refuse what cannot be read or written, before any work."""
    if not images and grid is None:
        raise UsageError(
            "Say which images: files, folders or globs. With --grid FILE.png alone, images of the model's own data are "
            "drawn."
        )
    if not images and out is not None:
        raise UsageError("--out is for the results of IMAGES: say which.")
    if not images and explain is not None:
        raise UsageError("--explain is for IMAGES: say which.")
    _check_exist(images or [])
    if out is not None:
        check_new_file(out)
    if grid is not None and grid == explain:
        raise UsageError(f"--grid and --explain are two pictures, and both are to be {grid}. Choose another name.")
    for setting, path in (("grid", grid), ("explain", explain)):
        if path is not None:
            from tl_toolkit.report.figures import check_figure_file

            check_figure_file(path, setting)


def _check_exist(images: list[str]) -> None:
    """Refuse names if none of them exists; beside others, or paths from stdin, a missing one is listed as unreadable.

    Raises:
        UsageError: None of them exists.
    """
    if not images or any(name == STDIN or call_with_stall_guard(_exists, name) for name in images):
        return
    missing = join_names([repr(name) for name in images])
    first = Path(images[0])
    near = get_close_matches(first.name, call_with_stall_guard(_names_in, first.parent), n=MAX_SUGGESTIONS)
    hint = f" Did you mean {' or '.join(str(first.with_name(name)) for name in near)}?" if near else ""
    what = f"There is no file or folder {missing}." if len(images) == 1 else f"None of these is there: {missing}."
    raise UsageError(f"{what}{hint}")


def _exists(name: str) -> bool:
    """Return whether a name is that of a file or folder, or a pattern that matches one."""
    matches = glob.iglob(name, recursive=True) if glob.has_magic(name) else iter(())  # noqa: PTH207  # as find_images
    return os.path.lexists(name) or next(matches, None) is not None


def _names_in(folder: Path) -> list[str]:
    try:
        return [path.name for path in folder.iterdir()]
    except (OSError, ValueError):
        return []


def _nothing_in(images: list[str]) -> str:
    if images == [STDIN]:
        return "No path came on stdin: - reads one on each line, as in: find photos -name '*.jpg' | tl predict -"
    return f"There is no image in {join_names(images)}."


def _write(results: "Iterator[Result]", output: Format, out: Path | None, style: PredictionFormat) -> None:
    undecodable = "surrogateescape" if output == "csv" else console.UNDECODABLE_IN_JSON
    if out is not None:
        with atomic_file(out) as temporary, temporary.open("w", encoding="utf-8", errors=undecodable) as file:
            file.writelines(style.lines(results, output))
    elif output == "table":
        style.print_table(results)
    else:
        console.write_lines(style.lines(results, output), undecodable)


def _draw_own_images(model: "ImageClassifier", place: str, grid: Path) -> None:
    """Draw images of the data that the model was trained on, preferably ones that it has not seen."""
    from tl_toolkit.cli.progress import ProgressDisplay
    from tl_toolkit.data.seen_images import choose_eval_split, report_seen_images
    from tl_toolkit.data.sources.base import SourceOptions, open_source
    from tl_toolkit.inference.scoring import check_task, remap_targets
    from tl_toolkit.report.sample_images import choose_sample, sample_images

    training = model.metadata.training
    if not training.get("data"):
        raise UsageError(f"{place} does not say what it was trained on: say which IMAGES.")
    source = open_source(training["data"], SourceOptions.from_settings(training))
    check_task(model, source)
    callback, seed = ProgressDisplay(console.status_console(to_stderr=True)), training.get("seed", 0)
    chosen = choose_eval_split(model.metadata, source, None, callback)
    samples = choose_sample(remap_targets(chosen.samples, source.class_names, model.class_names), seed)
    pictures = sample_images(model, samples, seed)
    report_seen_images(model.metadata, samples, callback)
    _draw(pictures, grid, f"{chosen.title}, {source.name},")


def _draw_explained(model: "ImageClassifier", counter: ResultCounter, path: Path) -> None:
    """Draw the images beside what speaks for their likeliest class."""
    from tl_toolkit.report.explained_images import explained_images
    from tl_toolkit.report.figures import save_figure
    from tl_toolkit.report.image_grid import image_grid

    pictures, method = explained_images(model, counter.first)
    save_figure(image_grid(pictures, columns=2, proportions=2.0), path)
    which = "" if counter.done == len(pictures) + counter.failed else f"the first {len(pictures)} images; "
    console.print_row(console.status_console(to_stderr=True), "explained", display_path(path), f"{which}{method}")


def _draw(pictures: "list[LabelledImage]", grid: Path, which: str) -> None:
    from tl_toolkit.report.figures import save_figure
    from tl_toolkit.report.image_grid import image_grid

    save_figure(image_grid(pictures), grid)
    known = [picture for picture in pictures if picture.truth is not None]
    right = sum(picture.truth == picture.predicted for picture in known)
    correct = f", {right} of {len(known)} right" if known else ""
    shown = f"{which} {len(pictures)} images{correct}"
    console.print_row(console.status_console(to_stderr=True), "grid", display_path(grid), shown)


def _format(output: Format | None, out: Path | None) -> Format:
    """Return the requested format, else the one that --out ends in."""
    if output is not None or out is None:
        if output == "table" and out is not None:
            raise UsageError("A table is for the terminal; with --out choose --format json, jsonl or csv.")
        return output or "table"
    endings: dict[str, Format] = {".json": "json", ".jsonl": "jsonl", ".csv": "csv"}
    if out.suffix not in endings:
        raise UsageError(f"{out.name} ends in none of {', '.join(endings)}; say --format.")
    return endings[out.suffix]


def _paths(images: Iterable[str]) -> Iterator[str]:
    for name in images:
        if name == STDIN:
            lines = (os.fsdecode(line.rstrip(b"\r\n")) for line in sys.stdin.buffer)
            yield from (line for line in lines if line.strip())
        else:
            yield name
