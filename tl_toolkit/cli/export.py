"""``tl export``."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from tl_toolkit.cli import console
from tl_toolkit.cli.early import check_early
from tl_toolkit.cli.loading import loading
from tl_toolkit.cli.options import JsonOption, TrustOption
from tl_toolkit.cli.quantization import print_quantization
from tl_toolkit.config.choices import EXPORT_FORMATS
from tl_toolkit.exports.base import Dtype, Layout, export_format
from tl_toolkit.io.files import check_new_file, display_path, expand_path


class ExportCommand(TyperCommand):
    """A command that looks for formats only when its help or an error names them: other packages may add some."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Name the formats if none is given."""
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter as error:
            if error.param is not None and error.param.name == "to":
                error.message = f"The formats are {', '.join(EXPORT_FORMATS)}."
            raise

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Describe the formats of --to."""
        to = next(parameter for parameter in self.params if parameter.name == "to")
        to.help = "; ".join(f"{name}: {export_format(name).description}" for name in EXPORT_FORMATS)  # type: ignore[attr-defined]
        super().format_help(ctx, formatter)


def export(
    run: Annotated[str, typer.Argument(help="A run folder, or a model file.")],
    to: Annotated[str, typer.Option(metavar="FORMAT", autocompletion=lambda: list(EXPORT_FORMATS))],
    out: Annotated[
        Path | None, typer.Option(help="The file to write.", show_default="beside the model, named by the format")
    ] = None,
    layout: Annotated[
        Layout, typer.Option(help="Names of the weights: the network's own, or the library's of the same network.")
    ] = "own",
    dtype: Annotated[Dtype, typer.Option(help="Type of the weights.")] = "fp32",
    with_preprocessing: Annotated[
        bool,
        typer.Option("--with-preprocessing", help="The file takes any RGB image, and gives probabilities."),
    ] = False,
    verify: Annotated[
        str | None,
        typer.Option(metavar="IMAGES", help="Images to compare on.", show_default="32 of the data of the run"),
    ] = None,
    allow_loss: Annotated[
        bool, typer.Option("--allow-loss", help="Keep a quantized file that loses more than a point of accuracy.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
    trust: TrustOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write a model for other programs.

    Before the file gets its name, it is loaded again as those programs do, and
    must give the model's outputs on real images. FILE.json beside it says what
    it holds: class names, preprocessing, origin, versions, and the comparison.
    """
    form = export_format(to)
    check_early(model=run)
    if out is not None:
        check_new_file(expand_path(out), forced=force)
    with loading():
        from tl_toolkit.cli.progress import ProgressDisplay
        from tl_toolkit.recipes.export import export

    with ProgressDisplay(console.status_console(to_stderr=True)) as display:
        written = export(
            run,
            to,
            out=out,
            layout=layout,
            dtype=dtype,
            with_preprocessing=with_preprocessing,
            verify=verify,
            allow_loss=allow_loss,
            force=force,
            trust=trust,
            callback=display,
        )
    if as_json:
        console.print_json({**written.note, "file": str(written.path)})
        return
    model, compared = written.note["model"], written.comparison
    console.print_rows([("wrote", f"{display_path(written.path)}: {to} of {model['architecture']}")])
    if compared:
        console.print_rows([("compared", f"{compared.describe()}: {compared.source}")])
    for side in ("input", "output"):  # Of formats that other programs call by name.
        console.print_rows([(side, f"{name}: {what}") for name, what in written.note.get(f"{side}s", {}).items()])
    if quantization := written.note.get("quantization"):
        print_quantization(quantization)
    console.print_rows([("note", display_path(written.note_file))])
    if not form.names_classes:
        console.print_rows([("classes", f"{', '.join(model['class_names'])}, in this order")])
