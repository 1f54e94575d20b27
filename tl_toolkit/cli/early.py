"""What can be found wrong before PyTorch is imported, which takes seconds."""

from pathlib import Path


def check_early(
    *,
    data: str | None = None,
    model: str | None = None,
    run: Path | None = None,
    out: str | None = None,
    file: Path | None = None,
) -> None:
    """Refuses what is not there and should be, or is there and should not; the recipes do so too, but later.

    Args:
        data: Images, as the user named them.
        model: A run folder or a file of a model.
        run: The folder of a run.
        out: A new run's folder.
        file: A file to write.

    Raises:
        UsageError: The message says what to do.
    """
    from tl_toolkit.data.sources.names import check_name
    from tl_toolkit.io.files import check_is_new
    from tl_toolkit.io.own_files import find_model
    from tl_toolkit.runs.folder import check_out, find_run

    if data is not None:
        check_name(data)
    if model is not None:
        find_model(model)
    if run is not None:
        find_run(run)
    if file is not None:
        check_is_new(file)
    check_out(out)
