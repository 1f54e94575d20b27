"""Checks that run before PyTorch is imported, which takes seconds."""

from pathlib import Path


def check_early(
    *,
    data: str | None = None,
    model: str | None = None,
    run: Path | None = None,
    out: str | None = None,
) -> None:
    """Check that inputs exist and outputs do not; the recipes check again, but later.

    Args:
        data: Images, as the user named them.
        model: A run folder or a model file.
        run: A run folder.
        out: The folder of a new run.

    Raises:
        UsageError: An input is missing, or an output exists.
    """
    from tl_toolkit.data.sources.names import check_name
    from tl_toolkit.io.own_files import find_model
    from tl_toolkit.runs.folder import check_new_folder, find_run

    if data is not None:
        check_name(data)
    if model is not None:
        find_model(model)
    if run is not None:
        find_run(run)
    check_new_folder(out)
