"""Refusing logits from which nothing can be computed."""

from collections.abc import Sequence

from tl_toolkit.errors import TrainingError
from tl_toolkit.text import named, plural


def check_finite(finite: Sequence[bool], names: Sequence[str], onnx_file: str = "") -> None:
    """Refuse logits of which some are NaN or infinite.

    Args:
        finite: Whether the logits of each image are finite.
        names: Of the images; they may be missing.
        onnx_file: The ONNX file that gave them, if one did.

    Raises:
        TrainingError: Some are not.
    """
    bad = [index for index, is_finite in enumerate(finite) if not is_finite]
    if not bad:
        return
    first = names[bad[0]] if names else f"number {bad[0] + 1}"
    many = f"{len(bad):,} of {plural(len(finite), 'image')}, the first of them {first}"
    kind = "all" if len(bad) == len(finite) else "some"
    overflow = "fp16: export the run again in fp32" if onnx_file else f"bf16: try {named('precision', 'fp32')}"
    advice = {
        "all": "The weights are not usable: train again, perhaps with a lower learning rate.",
        "some": f"Large weights may overflow in {overflow}, and look at this image.",
    }
    what = onnx_file or "The network"
    raise TrainingError(f"{what} gives no finite numbers (NaN or infinity) for {many}. {advice[kind]}")
