"""Names of runs for the completion of the shell."""

import os


def complete_runs(begun: str) -> list[str]:
    """Return the names under runs/ that begin as the user began; folders are completed by the shell itself."""
    from tl_toolkit.runs.folder import RUNS

    try:
        return sorted(name for name in os.listdir(RUNS) if name.startswith(begun) and name[0] != ".")
    except OSError:
        return []
