"""``tl models`` and ``tl models show``."""

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from tl_toolkit.cli import console
from tl_toolkit.cli.options import JsonOption
from tl_toolkit.errors import UnknownNameError, UsageError

MOST_COUNTED = 100
"""Networks in a listing up to which each is built (without memory for its weights) to count its parameters."""


class ListedByDefault(TyperGroup):
    """`tl models PATTERN` means `tl models list PATTERN`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Puts `list` before anything that is no command and no request for help."""
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
    as_json: JsonOption = False,
) -> None:
    """List networks: pretrained or not, parameters, input size."""
    from tl_toolkit.models.backbones import default_input_spec, has_pretrained, list_archs
    from tl_toolkit.models.summary import count_parameters

    archs = [arch for arch in list_archs(pattern) if not pretrained or has_pretrained(arch)]
    if not archs:
        every = dict.fromkeys(arch.name for arch in list_archs())
        raise UnknownNameError("architecture", pattern, every, "`tl models` lists them.")
    counted = len(archs) <= MOST_COUNTED
    found: list[dict[str, Any]] = []
    for arch in archs:
        spec = default_input_spec(arch)
        found.append(
            {
                "arch": str(arch),
                "pretrained": has_pretrained(arch),
                "parameters": count_parameters(arch) if counted else None,
                "input_size": [spec.channels, spec.height, spec.width],
            }
        )
    if as_json:
        console.tell_json(found)
        return
    rows = [
        [
            model["arch"],
            "yes" if model["pretrained"] else "no",
            f"{model['parameters'] / 1e6:.1f} M" if counted else "",
            "x".join(map(str, model["input_size"])),
        ]
        for model in found
    ]
    console.print_table(["network", "pretrained", "parameters", "input"], rows, numbers=2)
    if not counted:
        console.tell_result(
            f"{len(found)} networks; with a pattern of {MOST_COUNTED} or fewer their parameters are counted."
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
    """Show a network's layers, parameters, multiply-adds and memory for one image."""
    from tl_toolkit.config import FinetuneConfig
    from tl_toolkit.models.backbones import resolve_arch
    from tl_toolkit.models.summary import summarize

    options = FinetuneConfig(arch_options=tuple(arch_option or ())).options_of_arch
    summary = summarize(resolve_arch(arch, options), depth, _input_size(size), classes)
    if as_json:
        console.tell_json(summary.to_dict())
        return
    rows = [
        [
            "  " * layer.depth + layer.name,
            layer.kind,
            "x".join(map(str, layer.output)),
            f"{layer.parameters:,}" if layer.parameters else "",
            f"{layer.multiply_adds / 1e6:,.2f} M" if layer.multiply_adds else "",
        ]
        for layer in summary.layers
    ]
    spec = summary.input_spec
    title = f"{summary.arch}, input {spec.channels}x{spec.height}x{spec.width}, {summary.classes:,} classes"
    console.print_table(["layer", "type", "output", "parameters", "mult-adds"], rows, title, numbers=3)
    console.tell_result(
        f"{summary.parameters:,} parameters, {summary.multiply_adds / 1e6:,.2f} M multiply-adds for one image"
    )
    memory = (
        ("parameters", summary.parameter_bytes),
        ("input", summary.input_bytes),
        ("forward and backward", summary.activation_bytes),
    )
    each = ", ".join(f"{what} {count / 1e6:,.2f} MB" for what, count in memory)
    console.tell_result(f"memory for one image in float32: {each}")


def _input_size(text: str | None) -> tuple[int, int, int] | None:
    """From 1,32,32 or 1x32x32 to channels, height and width."""
    if text is None:
        return None
    parts = text.replace("x", ",").split(",")
    if len(parts) != 3 or not all(part.strip().isdecimal() and int(part) for part in parts):
        raise UsageError(f"--input must be channels, height and width, such as 1,32,32, not {text!r}.")
    channels, height, width = map(int, parts)
    return channels, height, width
