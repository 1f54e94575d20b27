"""Writing a model in a registered format: no file gets its name before its outputs were compared with the model's."""

import copy
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from tl_toolkit.data.samples import Samples
from tl_toolkit.errors import ToolkitError, UsageError
from tl_toolkit.events import Callback, log_event
from tl_toolkit.exports.base import ExportFormat, ExportOptions, ExportRequest, export_format
from tl_toolkit.exports.comparison import CheckImages, Comparison, compare
from tl_toolkit.inference.classifier import ImageClassifier
from tl_toolkit.io.export_notes import NOTE_FORMAT, digest_of_file, note_path
from tl_toolkit.io.files import atomic_file, check_new_file, format_size, write_text
from tl_toolkit.system.versions import package_versions
from tl_toolkit.training.device import select_device


@dataclass(frozen=True)
class Export:
    """A written file.

    Attributes:
        path: The file.
        format: Name of its format.
        comparison: How close its outputs are to the model's; None where the format gives none.
        note: What the file beside it says of it, as plain values.
    """

    path: Path
    format: str
    comparison: Comparison | None
    note: Mapping[str, Any]

    @property
    def note_file(self) -> Path:
        """The file beside it."""
        return note_path(self.path)


def no_val() -> Samples:
    """Refuse to return images of val.

    Raises:
        UsageError: Always.
    """
    raise UsageError("This export needs the labelled images of val, and there are none.")


def export_model(
    model: ImageClassifier,
    to: str,
    path: Path,
    check: CheckImages,
    options: ExportOptions | None = None,
    open_val: Callable[[], Samples] = no_val,
    *,
    origin: str = "",
    replace: bool = False,
    callback: Callback = log_event,
) -> Export:
    """Write a model in a format, and a note beside the file.

    Args:
        model: The model; it stays as it is.
        to: Name of the format.
        path: The file to write.
        check: Images on which the file is compared with the model.
        options: How it is written.
        open_val: Returns the labelled images of val, for a format that needs them.
        origin: Run folder or file that the model is from, for the note.
        replace: Replace an existing file.
        callback: Called with what takes long, and with decisions.

    Raises:
        UnknownNameError: There is no such format.
        UsageError: The file exists, or an option is not for this format or model.
        ToolkitError: The file cannot be written, or its outputs are not the model's; then nothing is left.
    """
    form, options = export_format(to), options or ExportOptions()
    form.check(to, model.metadata, options)
    for new in (path, note_path(path)):
        check_new_file(new, forced=replace)
    request = ExportRequest(plain_copy(model), options, open_val, callback)
    with atomic_file(path) as temporary:
        temporary.unlink()  # A format may refuse to replace a file.
        details = form.write(request, temporary)
        comparison = _compare(form, ExportRequest(plain_copy(model), options, open_val), temporary, check)
        _refuse_other_outputs(to, form.tolerance(options), comparison)
        digest = digest_of_file(temporary) if temporary.is_file() else ""  # A format may write a folder.
    note = {
        "note": NOTE_FORMAT,
        "format": to,
        "file": path.name,
        "sha256": digest,
        "options": asdict(options),
        "origin": origin,
        "model": _described(model),
        "versions": package_versions(),
        "comparison": comparison.to_dict() if comparison else None,
        "code": form.code(request, path.name),
        **details,
    }
    write_text(note_path(path), json.dumps(note, indent=2, ensure_ascii=False) + "\n")
    return Export(path, to, comparison, note)


def plain_copy(model: ImageClassifier) -> ImageClassifier:
    """Return a copy on the CPU, in fp32 and torch's usual memory format."""
    # Not the memory format that is quickest for this network: in another one, sums round differently.
    return ImageClassifier(
        copy.deepcopy(model.module), model.metadata, select_device("cpu", "fp32"), model.head_modules
    )


def _compare(form: ExportFormat, request: ExportRequest, path: Path, check: CheckImages) -> Comparison | None:
    outputs = form.open_outputs(request, path)
    if outputs is None:
        return None
    return compare(outputs, lambda batch: form.expected_outputs(request, batch), request.model, check)


def _refuse_other_outputs(name: str, tolerance: float | None, found: Comparison | None) -> None:
    """Refuse a file whose outputs differ from the model's by more than its format allows.

    Raises:
        ToolkitError: They do.
    """
    if found is None or tolerance is None or found.relative_difference <= tolerance:
        return
    raise ToolkitError(
        f"The {name} gives other outputs than the model on {found.images} images ({found.source}): they differ by up "
        f"to {found.max_difference:.2g}, expected at most {tolerance * max(1.0, found.largest):.2g}, and the class is "
        f"the same for {100 * found.agreement:.1f} % of them. The file is removed."
    )


def _described(model: ImageClassifier) -> dict[str, Any]:
    """Return the header of a model's own file as plain values, without the statistics of images."""
    left_out = {"split_note", "novelty", "format", "format_version"}
    header = {name: text for name, text in model.metadata.to_metadata().items() if name not in left_out}
    return {name: _plain(text) for name, text in header.items()}


def _plain(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def save_torch(value: object, path: Path) -> None:
    """Write an object with torch.save.

    Raises:
        ToolkitError: The file cannot be written.
    """
    try:
        torch.save(value, path)
    except RuntimeError as error:  # torch does not say why.
        free = format_size(shutil.disk_usage(path.parent).free)
        raise ToolkitError(f"Cannot write {path}: torch could not finish it, and {free} are free there.") from error
