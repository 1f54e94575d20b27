"""Registering a classic network and its options with timm."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar, get_args

from torch import nn

from tl_toolkit.errors import ModelError, UnknownNameError
from tl_toolkit.system.libraries import timm
from tl_toolkit.text import named

Network = TypeVar("Network", bound=nn.Module)

TIMMS_OWN = ("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir")
"""Arguments that `timm.create_model` passes to every network."""


def describe(
    name: str, size: tuple[int, int, int], mean: float, std: float, first_conv: str | None, classifier: str
) -> dict[str, Any]:
    """Return timm's description of a network without pretrained weights.

    Args:
        name: Name of the network.
        size: Channels, height and width of its input.
        mean: Mean of every channel of an image in 0..1; with 0 and a std of 1, as torchvision's ToTensor alone.
        std: Standard deviation of every channel.
        first_conv: Name of the first convolution.
        classifier: Name of the last layer.
    """
    channels = size[0]
    config = {
        "url": "",
        "num_classes": 10,
        "input_size": size,
        "fixed_input_size": False,
        "mean": (mean,) * channels,
        "std": (std,) * channels,
        "crop_pct": 1.0,
        "interpolation": "bilinear",
        "first_conv": first_conv,
        "classifier": classifier,
    }
    described: dict[str, Any] = timm.models.generate_default_cfgs({f"{name}.untrained": config})
    return described


def classic_network(build: Callable[..., Network]) -> Callable[..., Network]:
    """Register a function that builds a network, like timm's own entry points.

    The function's parameters are the network's options; `in_chans`, timm's word, means `in_channels`.
    """
    options = inspect.signature(build).parameters
    name = build.__name__

    @functools.wraps(build)
    def entry(*arguments: Any, **chosen: Any) -> Network:
        from_timm = {key: chosen.pop(key) for key in TIMMS_OWN if key in chosen}
        if from_timm.get("pretrained"):
            raise ModelError(
                f"{name} has no pretrained weights: it is trained from scratch. Say {named('weights', 'none')}."
            )
        if "in_chans" in chosen:
            chosen["in_channels"] = chosen.pop("in_chans")
        for option, value in chosen.items():
            if option not in options:
                raise UnknownNameError(f"option of {name}", option, options)
            choices = get_args(options[option].annotation)
            if choices and value not in choices:
                raise ModelError(f"{option} of {name} must be {' or '.join(map(str, choices))}, not {value!r}.")
        module = build(*arguments, **chosen)
        module.pretrained_cfg = module.default_cfg = timm.models.get_pretrained_cfg(name).to_dict()  # timm's attributes
        return module

    registered: Callable[..., Network] = timm.models.register_model(entry)
    return registered
