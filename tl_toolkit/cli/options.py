"""Flags made from FinetuneConfig, and the flags that several commands share."""

import dataclasses
import inspect
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from tl_toolkit.config import MAX_THREADS, FinetuneConfig, Precision
from tl_toolkit.naming import flag_of
from tl_toolkit.settings import Setting, choices_of, without_none

UNREADABLE = 3
"""Exit code of a command that is done, but could not read some images."""

ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model", "-m", help="A run folder, a model.safetensors or a full model.", show_default="the newest run"
    ),
]
TrustOption = Annotated[
    bool,
    typer.Option("--trust", help="Load a pickled file of any kind, although code that is in it then runs."),
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
PrecisionOption = Annotated[Precision, typer.Option(help="auto is bf16 where the device computes it natively.")]
WorkersOption = Annotated[
    int | None, typer.Option(min=0, help="Processes that decode images.", show_default="by cores and images")
]
ThreadsOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=MAX_THREADS,
        help="Cores to take; 1 on a machine that other programs keep busy.",
        show_default="OMP_NUM_THREADS, else those that it may use",
    ),
]
DATA_ROOT = "datasets"
DataRootOption = Annotated[
    Path | None, typer.Option(help="Folder of the torchvision datasets.", show_default=DATA_ROOT)
]
DownloadOption = Annotated[
    bool, typer.Option("--download", help="Download a torchvision dataset that is not there yet.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, and nothing else there.")]


def takes_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command a flag for every field of FinetuneConfig, passed to its `**settings`.

    A flag that is not given is None, so that a config file's value can stand.
    """
    signature = inspect.signature(command, eval_str=True)
    own = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
    flags = [_flag(field) for field in dataclasses.fields(FinetuneConfig)]
    command.__signature__ = signature.replace(parameters=[*flags, *own])  # type: ignore[attr-defined]
    return command


def given(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings whose flags were used."""
    return {name: value for name, value in settings.items() if value is not None and value != []}


def _flag(field: "dataclasses.Field[Any]") -> inspect.Parameter:
    setting: Setting = field.metadata["setting"]
    kind, flag = without_none(field.type), flag_of(field.name)
    metavar = None
    if typing.get_origin(kind) is tuple:  # Typer knows no list of Literals; FinetuneConfig checks the values.
        metavar = "|".join(choices_of(kind)) or "KEY=VALUE"
        kind = list[str]
    option = typer.Option(
        f"{flag}/--no-{flag[2:]}" if field.default is True else flag,
        help=f"{setting.help}{_shown_default(field, setting)}",
        metavar=metavar,
        show_default=False,
        rich_help_panel=setting.panel,
    )
    return inspect.Parameter(
        field.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, option]
    )


def _shown_default(field: "dataclasses.Field[Any]", setting: Setting) -> str:
    """The real default, which Typer does not know: its own is None, for a flag that was not given."""
    default = setting.automatic or str(field.default)
    return "" if field.default in ((), False) else f" [dim]\\[default: {default}][/]"
