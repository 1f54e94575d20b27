"""``tl inspect``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tl_toolkit.cli import console
from tl_toolkit.cli.early import check_early
from tl_toolkit.cli.options import JsonOption
from tl_toolkit.io.files import display_data, display_path, format_count, format_size
from tl_toolkit.text import join_names, plural

if TYPE_CHECKING:
    from tl_toolkit.model_file import ModelMetadata
    from tl_toolkit.recipes.inspect import Inspection

LARGEST = 5
"""Tensors that are listed; --json has all."""

SHOWN_CLASSES = 8
SHOWN_NAMES = 4


def inspect(
    file: Annotated[Path, typer.Argument(help="A model file of any kind, or a run folder.")],
    as_json: JsonOption = False,
) -> None:
    """Show what is inside a model file, without running anything in it.

    It reads safetensors files, what torch.save wrote (state_dicts, networks,
    checkpoints), programs of torch.export (.pt2) and ONNX files, of tl and of
    other programs: format, network, tensors, classes, preprocessing, origin.
    """
    check_early(model=str(file))
    from tl_toolkit.recipes.inspect import inspect

    found = inspect(file)
    if as_json:
        console.print_json(found.to_dict())
        return
    console.print_rows(_rows(found))
    console.print_blank()
    largest = [[each.name, each.dtype, each.size] for each in found.content.largest(LARGEST)]
    more = f", the largest of {len(found.tensors):,}" if len(found.tensors) > LARGEST else ""
    if largest:
        console.print_table(["tensor", "type", "shape"], largest, f"Tensors{more}", numbers=1)
    for problem in found.problems:
        console.print_warning(problem)
    if found.code:
        console.print_warning(f"Loading this file could run code: {found.code}. tl refuses it without --trust.")


def _rows(found: "Inspection") -> list[tuple[str, str]]:
    content, known, note = found.content, found.metadata, found.note
    types = ", ".join(f"{count:,} {dtype}" for dtype, count in content.dtypes.items())
    rows = [
        ("file", f"{display_path(found.path)} ({format_size(found.bytes)})"),
        ("format", content.format),
        ("sha256", found.sha256),
        ("network", found.arch or "not named in the file"),
        *_rows_of(known),
        ("classes", _classes(found)),
        ("tensors", f"{len(found.tensors):,} with {format_count(found.numbers)} numbers: {types}"),
        ("last", _last(found)),
        *content.facts.items(),
        ("names", _names(found)),
    ]
    if note:
        compared = note.get("comparison") or {}
        images = f", compared on {plural(compared['images'], 'image')}" if "images" in compared else ""
        rows.append(("note", f"{found.path.name}.json: {note.get('format')} of {note.get('origin')}{images}"))
    return [(name, value) for name, value in rows if value]


def _rows_of(known: "ModelMetadata | None") -> list[tuple[str, str]]:
    """Return what tl wrote of a model."""
    if known is None:
        return []
    spec = known.input_spec
    mean, std = ("/".join(f"{value:.3g}" for value in values) for values in (spec.mean, spec.std))
    size = f"{spec.channels}x{spec.height}x{spec.width}, {spec.interpolation}, {spec.crop} {spec.crop_fraction:.3g}"
    logit = ", one logit" if known.one_logit else ""
    training = known.training
    return [
        ("head", f"{known.head}{logit}, loss {known.loss}"),
        ("task", known.task),
        ("input", f"{size}, mean {mean}, std {std}"),
        ("weights", known.weights),
        ("licence", known.weights_license),
        ("trained on", display_data(str(training["data"])) if training.get("data") else ""),
        ("measured", _measured(known)),
        ("versions", ", ".join(f"{name} {version}" for name, version in known.versions.items())),
    ]


def _measured(known: "ModelMetadata") -> str:
    """Return the shares that a run measured, such as val accuracy 95.4 %."""
    shares = [name for name in known.metrics if name.endswith(("_accuracy", "_precision"))]
    values = {name: known.metrics[name] for name in shares if isinstance(known.metrics[name], int | float)}
    return ", ".join(f"{name.replace('_', ' ')} {console.percent(value)}" for name, value in values.items())


def _classes(found: "Inspection") -> str:
    names = found.class_names
    return f"{len(names):,}: {join_names(names, SHOWN_CLASSES)}" if names else "not named in the file"


def _last(found: "Inspection") -> str:
    """Return the last tensor of a file that names no classes: it is mostly the classifier's."""
    if found.class_names or not found.tensors:
        return ""
    return f"{found.tensors[-1].name} {found.tensors[-1].dtype} {found.tensors[-1].size}"


def _names(found: "Inspection") -> str:
    """Return the classes and functions that a pickle names."""
    names = found.content.code
    return f"{join_names(names, SHOWN_NAMES)} (classes and functions in its pickle)" if names else ""
