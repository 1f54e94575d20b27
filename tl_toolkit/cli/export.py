"""``tl export``."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from tl_toolkit.cli import console
from tl_toolkit.cli.early import check_early
from tl_toolkit.cli.loading import loading
from tl_toolkit.cli.options import TrustOption
from tl_toolkit.io.files import display_path

ExportFormat = Literal["state-dict", "full-model", "safetensors"]
Layout = Literal["own", "torchvision"]


def export(
    run: Annotated[str, typer.Argument(help="A run folder, a model.safetensors or a full model.")],
    to: Annotated[ExportFormat, typer.Option(help="Tensors alone, a pickled nn.Module, or tl's own file.")],
    out: Annotated[Path, typer.Option(help="The file to write; it must not exist.")],
    layout: Annotated[
        Layout, typer.Option(help="torchvision gives a resnet18_digits the keys of torchvision's resnet18.")
    ] = "own",
    trust: TrustOption = False,
) -> None:
    """Write a model for other programs.

    A state-dict has torchvision's or timm's own keys and loads there with strict=True.
    """
    check_early(model=run, file=out)
    with loading():
        from tl_toolkit.export.weights import export
        from tl_toolkit.inference.loading import load

    model = load(run, device="cpu", precision="fp32", trust=trust)
    export(model.module, model.metadata, to, out, layout)
    console.print_rows([("wrote", f"{display_path(out)}: {to} of {model.metadata.architecture}")])
    if to != "safetensors":
        console.print_rows([("classes", f"{', '.join(model.class_names)}, in this order")])
