"""``tl export``."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from tl_toolkit.cli import console
from tl_toolkit.cli.early import check_early
from tl_toolkit.cli.loading import loading
from tl_toolkit.cli.options import TrustOption
from tl_toolkit.config.choices import EXPORT_FORMATS
from tl_toolkit.export.base import Layout, export_format
from tl_toolkit.io.files import display_path


class ExportCommand(TyperCommand):
    """A command that looks for formats only when its help names them: other packages may add some."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Describe the formats of --to."""
        to = next(parameter for parameter in self.params if parameter.name == "to")
        to.help = "; ".join(f"{name}: {export_format(name).description}" for name in EXPORT_FORMATS)  # type: ignore[attr-defined]
        super().format_help(ctx, formatter)


def export(
    run: Annotated[str, typer.Argument(help="A run folder, a model.safetensors or a full model.")],
    to: Annotated[str, typer.Option(metavar="FORMAT", autocompletion=lambda: list(EXPORT_FORMATS))],
    out: Annotated[Path, typer.Option(help="The file to write; it must not exist.")],
    layout: Annotated[
        Layout, typer.Option(help="torchvision gives a resnet18_digits the keys of torchvision's resnet18.")
    ] = "own",
    trust: TrustOption = False,
) -> None:
    """Write a model for other programs.

    A state-dict has torchvision's or timm's own keys and loads there with strict=True.
    """
    form = export_format(to)
    check_early(model=run, file=out)
    with loading():
        from tl_toolkit.export.weights import export
        from tl_toolkit.inference.loading import load

    model = load(run, device="cpu", precision="fp32", trust=trust)
    export(model.module, model.metadata, to, out, layout)
    console.print_rows([("wrote", f"{display_path(out)}: {to} of {model.metadata.architecture}")])
    if not form.names_classes:
        console.print_rows([("classes", f"{', '.join(model.class_names)}, in this order")])
