"""Names of runs for the completion of the shell."""


def complete_runs(begun: str) -> list[str]:
    """Return the names under runs/ that begin as the user began; folders are completed by the shell itself."""
    from tl_toolkit.runs.folder import RUNS

    try:
        return sorted(path.name for path in RUNS.iterdir() if path.name.startswith(begun) and path.name[0] != ".")
    except OSError:
        return []
