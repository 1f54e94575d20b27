"""Names of repositories of the Hugging Face Hub, checked before anything is imported."""

import re

from tl_toolkit.errors import UsageError
from tl_toolkit.text import format_value, named

PREFIXES = ("hf-hub:", "hf:", "https://huggingface.co/")
PART = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?")
BRANCH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./-]*")
MOST_LETTERS = 96
"""What the Hub takes: huggingface_hub/utils/_validators.py."""


def check_repository(name: str) -> None:
    """Refuse what cannot be the name of a model repository.

    Raises:
        UsageError: It is not ORG/NAME.
    """
    parts = name.split("/")
    if bare := next((name.removeprefix(prefix) for prefix in PREFIXES if name.startswith(prefix)), ""):
        raise UsageError(f"{format_value(name)} is no name of a repository: leave out what is before {bare}.")
    if len(parts) == 1 and name:
        raise UsageError(
            f"{format_value(name)} lacks the organization or user that the repository is for: write ORG/{name}, with "
            "your own name on the Hugging Face Hub for ORG."
        )
    fits = len(parts) == 2 and all(PART.fullmatch(part) for part in parts)
    if not fits or len(name) > MOST_LETTERS or "--" in name or ".." in name or name.endswith(".git"):
        raise UsageError(
            f"{format_value(name)} is no name of a repository: write ORG/NAME, in letters without accents, digits, "
            f"-, _ and . (neither first nor last, nor two in a row), at most {MOST_LETTERS} in all."
        )


def check_branch(name: str | None) -> None:
    """Refuse what cannot be the name of a branch.

    Raises:
        UsageError: Git has no such names.
    """
    if name is not None and (not BRANCH.fullmatch(name) or ".." in name or name.endswith((".lock", "/", "."))):
        raise UsageError(f"{named('revision', name)} is no name of a branch: use letters, digits, -, _, . and /.")
