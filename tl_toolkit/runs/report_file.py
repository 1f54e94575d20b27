"""Writing report.html: one file of less than 5 MB, in a few seconds."""

import logging
import time
from pathlib import Path

from tl_toolkit.events import Callback, FileWritten, WarningEvent
from tl_toolkit.io.files import display_path, write_text
from tl_toolkit.report.pictures import Pictures
from tl_toolkit.runs.folder import REPORT_FILE
from tl_toolkit.runs.report_content import collect
from tl_toolkit.runs.report_galleries import Drawer
from tl_toolkit.runs.report_material import RunMaterial

DESCRIPTION = "results, mistakes, data and settings, for a browser"

MAX_BYTES = 5_000_000
"""So that it can be sent by mail."""

PICTURE_BYTES = 2_700_000
"""A third more in base64; the rest is for tables and the map of the features."""

SHARES = (1.0, 0.4, 0.0)
"""If the page is too large all the same, it gets this share of the pictures."""

PICTURE_SHARE = 0.6
"""Share of the time for pictures; heat maps have the rest."""

SECONDS = 3.0
"""For pictures and heat maps at the end of a run: with the rest, the report takes less than 5 s."""

log = logging.getLogger("tl_toolkit")


def write_page(material: RunMaterial, path: Path, seconds: float = SECONDS) -> Path:
    """Write or replace the report of a run.

    Args:
        material: What is known of the run.
        path: The file.
        seconds: How long pictures and heat maps may take.

    Raises:
        ToolkitError: The file cannot be written.
    """
    from tl_toolkit.report.page.render import render

    started = time.monotonic()
    drawer = Drawer(material.model, started + seconds)
    channels = material.metadata.input_spec.channels
    html = ""
    for share in SHARES:
        pictures = Pictures(material.images, channels, int(share * PICTURE_BYTES), started + PICTURE_SHARE * seconds)
        html = render(collect(material, pictures, drawer))
        if len(html.encode("utf-8", "backslashreplace")) <= MAX_BYTES:
            break
    write_text(path, html, undecodable="backslashreplace")
    return path


def report_run(material: RunMaterial, callback: Callback) -> None:
    """Write the report at the end of a run, whose results are on the disk; a failure is a warning."""
    path = material.folder / REPORT_FILE
    try:
        write_page(material, path)
    except Exception as error:  # No picture, and no library that draws it, may cost a finished run.
        log.debug("The report failed.", exc_info=True)
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        callback(
            WarningEvent(
                f"The report of {display_path(material.folder)} could not be written: {reason}. Everything else is "
                f"saved; to try again: tl report {display_path(material.folder, tilde=False)}"
            )
        )
        return
    callback(FileWritten(path, DESCRIPTION))
