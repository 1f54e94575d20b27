"""The metadata that tl writes into files of other formats."""

import json


def header_of_json(text: str) -> dict[str, str]:
    """Return a header that was written as a JSON object of texts; empty for anything else."""
    try:
        header = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        return {}
    if not isinstance(header, dict) or not all(isinstance(value, str) for value in header.values()):
        return {}
    return header
