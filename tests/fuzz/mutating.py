"""Changes to bytes, and to the values of JSON texts, by which damage and forgery are tried."""

import copy
import json
import random
from collections.abc import Callable
from typing import Any

ODD: tuple[Any, ...] = (
    None, True, False, "", "0", "tensor ", "a" * 300, "\ud800", "\x00", "NaN", "../..", [], {}, [[]], {"a": {}}, [None],
    0, 1, -1, 2, 0.5, -0.0, 1e300, 1e-300, float("nan"), float("inf"), 2**31, 2**63, -(2**63) - 1, 10**400, 10**4000,
)  # fmt: skip
INTERESTING = (0x00, 0x01, 0x20, 0x22, 0x2D, 0x5B, 0x7B, 0x7F, 0x80, 0xFF)
DEEP = 50_000


def mutate_bytes(data: bytes, draw: random.Random) -> bytes:
    """A few bytes flipped, set, put in, taken out, doubled or swapped."""
    changed = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 4, 16))):
        at = draw.randrange(len(changed) + 1)
        length = draw.choice((1, 1, 2, 4, 8, 100))
        kind = draw.randrange(7)
        if kind == 0 and at < len(changed):
            changed[at] ^= 1 << draw.randrange(8)
        elif kind == 1 and at < len(changed):
            changed[at] = draw.choice(INTERESTING)
        elif kind == 2:
            changed[at:at] = draw.randbytes(length)
        elif kind == 3:
            del changed[at : at + length]
        elif kind == 4:
            changed[at:at] = changed[at : at + length]
        elif kind == 5:
            start = draw.randrange(len(changed) + 1)
            changed[at : at + length] = changed[start : start + length]
        else:
            changed[at : at + 4] = draw.choice((0, 1, 2**31, 2**32 - 1)).to_bytes(4, draw.choice(("little", "big")))
    return bytes(changed)


def mutate_json(text: bytes, draw: random.Random) -> bytes:
    """One value or a few of a JSON text replaced, removed, moved or added; bytes where it is none."""
    if draw.random() < 0.01:
        return draw.choice((b"[", b'{"a":')) * DEEP
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return mutate_bytes(text, draw)
    for _ in range(draw.choice((1, 1, 1, 2, 5))):
        value = _changed(value, draw)
    try:
        return json.dumps(value).encode()
    except (ValueError, RecursionError):
        return mutate_bytes(text, draw)


def _changed(value: Any, draw: random.Random) -> Any:
    """The same value with another one somewhere in it; JSON within text is changed there."""
    if isinstance(value, str) and value[:1] in ("{", "[") and draw.random() < 0.9:
        return mutate_json(value.encode("utf-8", "replace"), draw).decode("utf-8", "replace")
    if not isinstance(value, dict | list) or not value or draw.random() < 0.05:
        return _another(value, draw)
    keys: list[Any] = list(value) if isinstance(value, dict) else list(range(len(value)))
    key = draw.choice(keys)
    kind = draw.random()
    if kind < 0.05:
        del value[key]
    elif kind < 0.08 and isinstance(value, dict):
        value[draw.choice(("x", "", key + "x"))] = value.pop(key)
    elif kind < 0.12 and isinstance(value, dict):
        value["another"] = copy.deepcopy(draw.choice(ODD))
    elif kind < 0.12:
        value.append(copy.deepcopy(draw.choice(ODD)))
    elif kind < 0.16:
        other = draw.choice(keys)
        value[key], value[other] = value[other], value[key]
    else:
        value[key] = _changed(value[key], draw)
    return value


def _another(value: Any, draw: random.Random) -> Any:
    small = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**60
    if small and draw.random() < 0.4:
        return draw.choice((value + 1, value - 1, -value, value * 2, value / 3, float(value), str(value)))
    return copy.deepcopy(draw.choice(ODD))


def mutator(json_after: int | None) -> Callable[[bytes, random.Random], bytes]:
    """A mutation for data with, or without, a JSON text after so many bytes."""

    def mutate(data: bytes, draw: random.Random) -> bytes:
        if json_after is None or draw.random() < 0.3:
            return mutate_bytes(data, draw)
        return data[:json_after] + mutate_json(data[json_after:], draw)

    return mutate
