"""What a network lost in eight-bit integers, as `tl export` prints it."""

from collections.abc import Mapping
from typing import Any

from tl_toolkit.cli import console
from tl_toolkit.text import plural


def print_quantization(note: Mapping[str, Any]) -> None:
    """Print what the note beside a quantized file says of it."""
    from tl_toolkit.metrics.resampled import NAMES

    before, after, difference = note["before"], note["after"], note["difference"]
    console.print_rows([("int8", _layers(note["layers"], note["fp32_layers"]))])
    console.print_accuracy(f"{_share(after)} on {plural(note['images'], 'image')} of val", NAMES[note["figure"]])
    lost = f"{_points(difference['value'])} ({_points(difference['low'])} to {_points(difference['high'])})"
    console.print_rows([("before", f"{_share(before)}: int8 has {lost}")])
    if note["learned_from_val"]:
        console.print_rows([("but", "the head has learned from these images: on new ones it may lose more")])


def _layers(layers: int, kept: int) -> str:
    """Return which layers are in integers."""
    if not kept:
        return f"all {plural(layers, 'layer')}"
    return f"{layers - kept} of {plural(layers, 'layer')}; the first {kept} stay in fp32, to lose less"


def _share(estimate: Mapping[str, float]) -> str:
    """Return a share with its interval."""
    return console.percent_with_interval(estimate["value"], (estimate["low"], estimate["high"]))


def _points(difference: float) -> str:
    """Return a difference of two shares, such as "0.7 points less"."""
    points = round(100 * difference, 1)
    if not points:
        return "the same"
    return f"{abs(points):.1f} {'points' if abs(points) != 1 else 'point'} {'less' if points < 0 else 'more'}"
