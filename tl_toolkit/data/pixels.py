"""Images in memory: what pixels of an array or a tensor may be, and the image that they make."""

import sys
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    import torch
    from typing_extensions import TypeIs

CHANNELS = (1, 3, 4)
RANGED_TYPES = (np.uint8, np.uint16, np.bool_)
ARRAYS = (
    "Arrays of images are (N, H, W) or (N, H, W, C), channels last, tensors (N, C, H, W); with 1, 3 or 4 channels, as "
    "uint8 from 0 to 255 or as floating-point numbers from 0 to 1."
)


def image_from_memory(source: "Image.Image | np.ndarray | torch.Tensor") -> Image.Image:
    """Return a PIL image of pixels, with eight bits a channel unless it is one already.

    Raises:
        ValueError: Shape, type or values are not those of an image.
    """
    if isinstance(source, Image.Image):
        return source
    if problem := problem_with_shape(source) or problem_with_values(source):
        raise ValueError(problem)
    if is_tensor(source):
        pixels = source.detach().cpu()
        array = (pixels.permute(1, 2, 0) if pixels.ndim == 3 else pixels).numpy()
    else:
        array = source
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if np.issubdtype(array.dtype, np.floating):
        if not np.isfinite(array).all():
            raise ValueError("some pixels are NaN or infinite")
        array = np.rint(array * 255).astype(np.uint8)
    elif array.dtype == np.uint16:
        array = (array // 257).astype(np.uint8)
    elif array.dtype == bool:
        array = array.astype(np.uint8) * 255
    return Image.fromarray(np.ascontiguousarray(array))


def problem_with_shape(image: "np.ndarray | torch.Tensor") -> str:
    """Return what is wrong with the shape of an image in memory, and the remedy; empty if nothing is."""
    shape, of_torch = tuple(image.shape), is_tensor(image)
    if len(shape) == 4:
        return f"shape {shape} is that of several images: give them as a list"
    if len(shape) not in (2, 3):
        return f"an image of shape {shape} is none: height and width, and channels, are expected"
    at, other = (0, -1) if of_torch else (-1, 0)
    if len(shape) == 2 or shape[at] in CHANNELS:
        return ""
    if shape[other] in CHANNELS:
        mend = "tensor.movedim(-1, -3)" if of_torch else "np.moveaxis(array, -3, -1)"
        is_where, should = ("last", "first") if of_torch else ("first", "last")
        return f"its channels come {is_where}, those of {'a tensor' if of_torch else 'an array'} {should}: {mend}"
    return f"an image of shape {shape} has no 1, 3 or 4 channels"


def problem_with_values(pixels: "np.ndarray | torch.Tensor") -> str:
    """Return what is wrong with the type or the finite values of images, and the remedy; empty if nothing is."""
    if is_tensor(pixels):
        whole = pixels.detach().cpu()
        array = (whole.float() if whole.is_floating_point() else whole).numpy()
    else:
        array = pixels
    if array.dtype in RANGED_TYPES:
        return ""
    if array.dtype.kind != "f":
        mend = "tensor.to(torch.uint8)" if is_tensor(pixels) else "array.astype(np.uint8)"
        return f"pixels of type {array.dtype} have no defined range; from 0 to 255 they are uint8: {mend}"
    finite = np.isfinite(array)
    if not finite.any():
        return ""
    lowest, highest = array.min(where=finite, initial=np.inf), array.max(where=finite, initial=-np.inf)
    if lowest >= 0 and highest <= 1:
        return ""
    mend = "divide them by 255" if lowest >= 0 else "do not normalize them, tl does"
    return f"floating-point pixels must lie in 0 to 1, not {lowest:g} to {highest:g}: {mend}"


def is_tensor(source: object) -> "TypeIs[torch.Tensor]":
    """Return whether an image is a tensor, without importing torch: where there is a tensor, that is done."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(source, torch.Tensor)
