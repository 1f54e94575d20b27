"""``tl import``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tl_toolkit.cli import console
from tl_toolkit.cli.early import check_early
from tl_toolkit.cli.loading import loading
from tl_toolkit.cli.options import JsonOption, TrustOption
from tl_toolkit.config.choices import Task
from tl_toolkit.config.finetune import FinetuneConfig
from tl_toolkit.errors import UsageError
from tl_toolkit.io.class_names import read_class_names
from tl_toolkit.io.files import display_path, expand_path, is_file

if TYPE_CHECKING:
    from tl_toolkit.recipes.import_model import ImportedModel

PREPROCESSING = "size, mean, std, interpolation, crop and crop_fraction"


def import_model(
    file: Annotated[Path, typer.Argument(help="Weights, a network or a checkpoint of another program.")],
    arch: Annotated[
        str | None, typer.Option(help="The network, a name from `tl models`.", show_default="what the file says")
    ] = None,
    classes_file: Annotated[
        Path | None,
        typer.Option(metavar="NAMES", help="Class names in the order of the outputs, one on each line, or JSON."),
    ] = None,
    task: Annotated[Task, typer.Option(help="multi-class, multi-label or soft.")] = "multi-class",
    preprocessing: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help=f"What the network expects: {PREPROCESSING}; repeatable.",
            show_default="what the file says, else the network's own",
        ),
    ] = None,
    arch_option: Annotated[
        list[str] | None,
        typer.Option("--arch-options", metavar="KEY=VALUE", help="An option of the network's own; repeatable."),
    ] = None,
    ema: Annotated[bool, typer.Option("--ema", help="Take the moving average that a checkpoint has.")] = False,
    out: Annotated[
        str | None, typer.Option(help="Folder of the run; it must not exist.", show_default="runs/DATE-ARCH-FILE")
    ] = None,
    trust: TrustOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make a run folder from a network that was trained elsewhere.

    FILE is a safetensors file, or what torch.save wrote: a state_dict, a
    network, or a checkpoint with one in it. The number of classes is that of
    its tensors. Every tensor must fit; what does not is shown beside the
    network's. The run then works with predict, evaluate, export and report.

    To train weights for other classes, no import is needed:
    tl finetune --weights FILE --arch NAME.
    """
    place = expand_path(file)
    if not is_file(place):
        raise UsageError(f"There is no file {str(file)!r}.")
    check_early(out=out)
    names = read_class_names(expand_path(classes_file)) if classes_file is not None else None
    chosen = _parsed(preprocessing or [])
    options = FinetuneConfig(arch_options=tuple(arch_option or ())).parsed_arch_options
    with loading():
        from tl_toolkit.cli.progress import ProgressDisplay
        from tl_toolkit.recipes.import_model import import_model

    with ProgressDisplay(console.status_console(to_stderr=as_json)) as display:
        imported = import_model(
            file,
            arch=arch,
            class_names=names,
            task=task,
            preprocessing=chosen,
            arch_options=options,
            ema=ema,
            trust=trust,
            out=out,
            callback=display,
        )
    if as_json:
        console.print_json({"run": str(imported.path), **imported.note})
    else:
        _print(imported)


def _parsed(words: list[str]) -> dict[str, Any]:
    """Return KEY=VALUE words as a mapping; 0.5,0.5,0.5 is a list of numbers.

    Raises:
        UsageError: A word is none.
    """
    from tl_toolkit.config.fields import read_yaml

    found: dict[str, Any] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not key or not equals or not text:
            raise UsageError(f"--preprocessing {word!r} is not KEY=VALUE, such as size=299 or mean=0.5,0.5,0.5.")
        found[key] = read_yaml(f"[{text}]" if "," in text and text[0] != "[" else text)
    return found


def _print(imported: "ImportedModel") -> None:
    from tl_toolkit.io.files import format_count

    network, spec = imported.network, imported.network.input_spec
    matched = imported.network.match
    parameters = sum(weight.numel() for weight in network.module.parameters())
    head = "" if network.head == "swap" else f", head {network.head} after {network.base_classes:,} outputs"
    compared = imported.comparison
    rows = [
        ("matched", f"{len(matched.matched):,} tensors, {format_count(parameters)} parameters"),
        ("missing", "none"),
        ("unexpected", "none"),
        ("outputs", f"{network.outputs:,} ({network.layer}){head}"),
        (
            "input",
            f"{spec.channels}x{spec.height}x{spec.width}, {spec.interpolation}, {spec.crop} {spec.crop_fraction:.3g}",
        ),
        ("compared", f"{compared.describe()}: {compared.source}" if compared else NOT_COMPARED),
        ("run", display_path(imported.path)),
    ]
    console.print_rows(rows)
    run = display_path(imported.path)
    console.print_commands([["tl", "predict", "--model", run, "IMAGE"], ["tl", "evaluate", "--model", run, "DATA"]])


NOT_COMPARED = "with nothing: tensors alone give no outputs; evaluate it on labelled images"
