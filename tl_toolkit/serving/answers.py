"""How answers are written."""

import json
from typing import Any

from starlette.responses import JSONResponse

UNDECODABLE = "backslashreplace"
"""Writes a byte of a name that is no text as \\udcNN, which is valid in a JSON string, as the commands do."""


class Json(JSONResponse):
    """An answer in JSON, whatever bytes the names in it have."""

    def render(self, content: Any) -> bytes:
        """Return the body."""
        text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode("utf-8", UNDECODABLE)
