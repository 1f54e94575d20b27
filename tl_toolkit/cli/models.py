"""``tl models`` and ``tl models show``."""

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from tl_toolkit.cli import console
from tl_toolkit.cli.loading import loading
from tl_toolkit.cli.options import JsonOption
from tl_toolkit.errors import UnknownNameError, UsageError
from tl_toolkit.io.files import format_count, format_size

if TYPE_CHECKING:
    from tl_toolkit.models.weights.sources import WeightSource

MAX_COUNTED = 100
"""Longest listing in which each network is built, without memory for its weights, to count its parameters."""


class ListedByDefault(TyperGroup):
    """`tl models PATTERN` means `tl models list PATTERN`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put `list` before anything but a command or a request for help."""
        if not args or (args[0] not in self.commands and args[0] not in ("-h", "--help")):
            args = ["list", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=ListedByDefault,
    help="List networks, or show one: `tl models [PATTERN]`, `tl models show ARCH`.",
    subcommand_metavar="[PATTERN] | show ARCH",
    rich_markup_mode="rich",
)


@app.command("list")
def list_models(
    pattern: Annotated[str, typer.Argument(help="A glob, or a part of a name.")] = "*",
    pretrained: Annotated[bool, typer.Option("--pretrained", help="Only those with weights to download.")] = False,
    here: Annotated[bool, typer.Option("--here", help="Only those whose weights are on this machine.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List networks: pretrained or not, weights on this machine, parameters, input size."""
    with loading():
        from tl_toolkit.models.backbones import default_input_spec, has_pretrained, list_archs
        from tl_toolkit.models.summary import count_parameters
        from tl_toolkit.models.weights.sources import weights_here

    matching = [arch for arch in list_archs(pattern) if not pretrained or has_pretrained(arch)]
    places = {arch: weights_here(arch) for arch in matching}
    archs = [arch for arch in matching if not here or places[arch]]
    if not matching:
        every = dict.fromkeys(arch.name for arch in list_archs())
        raise UnknownNameError("architecture", pattern, every, "`tl models` lists them.")
    counted = len(archs) <= MAX_COUNTED
    found: list[dict[str, Any]] = [
        {
            "arch": str(arch),
            "pretrained": has_pretrained(arch),
            "here": places[arch],
            "parameters": count_parameters(arch) if counted else None,
            "input_size": [spec.channels, spec.height, spec.width],
        }
        for arch, spec in ((arch, default_input_spec(arch)) for arch in archs)
    ]
    if as_json:
        console.print_json(found)
        return
    if not found:
        console.print_result(f"None of the {len(matching)} networks that match has its weights on this machine.")
        return
    rows = []
    for model in found:
        parameters = format_count(model["parameters"]) if counted else ""
        downloadable, shape = "yes" if model["pretrained"] else "no", "x".join(map(str, model["input_size"]))
        rows.append([model["arch"], downloadable, model["here"] or "", parameters, shape])
    console.print_table(["network", "pretrained", "here", "parameters", "input"], rows, numbers=2)
    if not counted:
        console.print_result(
            f"{len(found)} networks; with a pattern of {MAX_COUNTED} or fewer their parameters are counted."
        )


@app.command()
def show(
    arch: Annotated[str, typer.Argument(help="A name from `tl models`.")],
    size: Annotated[
        str | None,
        typer.Option("--input", help="Channels, height and width, such as 1,32,32.", show_default="the network's own"),
    ] = None,
    classes: Annotated[
        int | None, typer.Option(min=1, help="Outputs of the classifier.", show_default="as pretrained")
    ] = None,
    arch_option: Annotated[
        list[str] | None,
        typer.Option("--arch-options", metavar="KEY=VALUE", help="An option of the network's own; repeatable."),
    ] = None,
    depth: Annotated[int, typer.Option(min=1, help="Levels of modules to show.")] = 2,
    as_json: JsonOption = False,
) -> None:
    """Show a network's layers, parameters, multiply-adds, memory for one image, and its pretrained weights."""
    with loading():
        from tl_toolkit.config.finetune import FinetuneConfig
        from tl_toolkit.models.backbones import resolve_arch
        from tl_toolkit.models.summary import summarize
        from tl_toolkit.models.weights.sources import weight_sources

    options = FinetuneConfig(arch_options=tuple(arch_option or ())).parsed_arch_options
    network = resolve_arch(arch, options)
    summary = summarize(network, depth, _input_size(size), classes)
    sources = weight_sources(network)
    if as_json:
        console.print_json(
            {**dataclasses.asdict(summary), "weights": [dataclasses.asdict(source) for source in sources]}
        )
        return
    rows = [
        [
            "  " * layer.depth + layer.name,
            layer.kind,
            "x".join(map(str, layer.output)),
            f"{layer.parameters:,}" if layer.parameters else "",
            format_count(layer.multiply_adds) if layer.multiply_adds else "",
        ]
        for layer in summary.layers
    ]
    spec = summary.input_spec
    title = f"{summary.arch}, input {spec.channels}x{spec.height}x{spec.width}, {summary.classes:,} classes"
    console.print_table(["layer", "type", "output", "parameters", "multiply-adds"], rows, title, numbers=3)
    memory = (
        f"parameters {format_size(summary.parameter_bytes)}, input {format_size(summary.input_bytes)}, forward and "
        f"backward {format_size(summary.activation_bytes)}, for one image in float32"
    )
    operations = f"{format_count(summary.multiply_adds)} multiply-adds for one image"
    console.print_blank()
    console.print_rows([("parameters", f"{summary.parameters:,}"), ("operations", operations), ("memory", memory)])
    _print_weights(sources)


def _print_weights(sources: "list[WeightSource]") -> None:
    """Print a few lines for each source of pretrained weights."""
    if not sources:
        console.print_rows([("weights", "none: --weights none --tune full trains it from scratch")])
    for source in sources:
        here = f"{'yes' if source.here else 'no'}{f': {source.note}' if source.note else ''}"
        origin, licence = ("origin", source.origin), ("licence", source.license or "not stated")
        console.print_blank()
        console.print_rows([("weights", f"--weights {source.weights}"), origin, ("here", here), licence])


def _input_size(text: str | None) -> tuple[int, int, int] | None:
    """Return channels, height and width of 1,32,32 or 1x32x32."""
    if text is None:
        return None
    parts = text.replace("x", ",").split(",")
    if len(parts) != 3 or not all(part.strip().isdecimal() and int(part) for part in parts):
        raise UsageError(f"--input must be channels, height and width, such as 1,32,32, not {text!r}.")
    channels, height, width = map(int, parts)
    return channels, height, width
