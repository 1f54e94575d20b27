"""The flags of FinetuneConfig, and the flags that several commands share."""

import dataclasses
import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperOption

from tl_toolkit.config.choices import KINDS, MAX_THREADS, Precision
from tl_toolkit.config.fields import FieldSpec, choices_of, without_none
from tl_toolkit.config.finetune import FinetuneConfig
from tl_toolkit.errors import UsageError
from tl_toolkit.io.files import expand_path
from tl_toolkit.text import flag_of, format_value

COMMON = {
    "arch", "weights", "tune", "time_budget", "val_split", "epochs", "learning_rate", "seed", "augment", "image_size",
    "out",
}  # fmt: skip
"""The settings that --help shows; --help-all shows all of them."""

READING = (
    "path_column", "label_column", "label_separator", "split_column", "group_column", "image_root", "task", "streaming",
    "data_root", "download", "cache_size",
)  # fmt: skip
"""The settings that say how to read images, which every command that reads labelled images has."""

UNREADABLE = 3
"""Exit code of a command that finished but could not read some images."""

ModelOption = Annotated[
    str | None,
    typer.Option("--model", "-m", help="A run folder, or a model file that tl wrote.", show_default="the newest run"),
]
TrustOption = Annotated[bool, typer.Option("--trust", help="Load any pickled file, which runs the code in it.")]
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
        help="Cores to use; 1 on a machine that other programs keep busy.",
        show_default="OMP_NUM_THREADS, else all that it may use",
    ),
]
DataSpec = Annotated[str, typer.Argument(metavar="DATA", help=f"Images: {KINDS}.")]
DataArgument = Annotated[str | None, typer.Argument(metavar="DATA", help=f"Images: {KINDS}; same as --data.")]
Format = Literal["table", "json", "csv"]
FormatOption = Annotated[Format | None, typer.Option("--format", "-f", help="How to print.", show_default="table")]
JsonFormatOption = Annotated[bool, typer.Option("--json", help="Short for --format json.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, on stdout.")]


def with_config_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command --help-all and a flag for every field of FinetuneConfig, passed to its `**settings`.

    A flag that is not set is None, so that the value of a config file is used.
    """
    signature = inspect.signature(command, eval_str=True)
    own = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
    flags = [_flag(field) for field in dataclasses.fields(FinetuneConfig)]
    command.__signature__ = signature.replace(parameters=[*own, *flags, _HELP_ALL])  # type: ignore[attr-defined]
    return command


def with_source_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command --help-all and the flags that say how to read its images, passed to its `**reading`."""
    signature = inspect.signature(command, eval_str=True)
    own = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
    flags = [_flag(field) for field in dataclasses.fields(FinetuneConfig) if field.name in READING]
    command.__signature__ = signature.replace(parameters=[*own, *flags, _HELP_ALL])  # type: ignore[attr-defined]
    return command


def with_flowing_help(command: Callable[..., None]) -> Callable[..., None]:
    """Join the lines of each paragraph of a command's docstring, which Typer would keep apart in a narrow terminal."""
    paragraphs = (inspect.getdoc(command) or "").split("\n\n")
    command.__doc__ = "\n\n".join(paragraph.replace("\n", " ") for paragraph in paragraphs)
    return command


def only_data(argument: str | None, flag: str | None) -> str | None:
    """Return the images named by the argument or by --data.

    Raises:
        UsageError: Both name images, and they differ.
    """
    if argument is not None and flag is not None and expand_path(argument) != expand_path(flag):
        raise UsageError(
            f"Images are named twice, {format_value(argument)} and --data {format_value(flag)}: leave out one."
        )
    return flag if argument is None else argument


def chosen_format(output: Format | None, json_format: bool) -> Format:
    """Return the format named by --format or by --json.

    Raises:
        UsageError: They name two.
    """
    if json_format and output not in (None, "json"):
        raise UsageError(f"--json is short for --format json, and --format {output} is another: leave out one.")
    return "json" if json_format else output or "table"


def flags_set(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings whose flags are set, by name."""
    names = [field.name for field in dataclasses.fields(FinetuneConfig)]
    return {name: settings[name] for name in names if settings.get(name) is not None and settings[name] != []}


def as_typed(settings: Mapping[str, Any]) -> list[str]:
    """Return settings from `flags_set` as words of a command."""
    words: list[str] = []
    for name, value in settings.items():
        flag = flag_of(name)
        if isinstance(value, bool):
            words.append(flag if value else f"--no-{flag[2:]}")
        else:
            for each in value if isinstance(value, list | tuple) else [value]:
                words += [flag, str(each)]
    return words


def _flag(field: "dataclasses.Field[Any]") -> inspect.Parameter:
    setting: FieldSpec = field.metadata["setting"]
    kind, flag = without_none(field.type), flag_of(field.name)
    choices = choices_of(kind)
    metavar = "NAME" if choices else None  # A list of the choices would narrow the help, which names them.
    unnamed = "" if all(choice in setting.help for choice in choices) else f" One of {', '.join(choices)}."
    if typing.get_origin(kind) is tuple:
        metavar = "NAME" if setting.choices else setting.metavar
        kind = list[str]
    option = typer.Option(
        f"{flag}/--no-{flag[2:]}" if field.default is True else flag,
        help=f"{setting.help}{unnamed}{_shown_default(field, setting)}",
        metavar=metavar,
        show_default=False,
        rich_help_panel=setting.panel,
        hidden=field.name not in COMMON,
    )
    return inspect.Parameter(
        field.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, option]
    )


def _shown_default(field: "dataclasses.Field[Any]", setting: FieldSpec) -> str:
    """Return the default for the help. Typer sees None, which stands for a flag that is not set."""
    default = setting.default_help or str(field.default)
    return "" if field.default == () or field.default is False else f" [dim]\\[default: {default}][/]"


def _show_all_help(context: typer.Context, wanted: bool) -> None:
    """Print a command's help with the options that --help hides, and exit."""
    if not wanted:
        return
    for parameter in context.command.params:
        if isinstance(parameter, TyperOption):
            parameter.hidden = False
            if choices := _ADDED_CHOICES.get(parameter.name or ""):
                parameter.help = f"{parameter.help} One of {', '.join(choices())}."
    typer.echo(context.get_help())
    raise typer.Exit


_ADDED_CHOICES = {field.name: field.metadata["setting"].choices for field in dataclasses.fields(FinetuneConfig)}
"""Names that other packages may add to, which are looked up for --help-all."""

_HELP_ALL = inspect.Parameter(
    "help_all",
    inspect.Parameter.KEYWORD_ONLY,
    default=False,
    annotation=Annotated[
        bool,
        typer.Option(
            "--help-all",
            callback=_show_all_help,
            is_eager=True,
            help="Show all options, and exit.",
        ),
    ],
)
