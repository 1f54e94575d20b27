"""Fine-tune pretrained image networks on your own classes.

    import tl_toolkit as tl

    run = tl.finetune(arch="resnet18", data="photos/")
    model = tl.load(run.path)
    model.predict("cat.png")

The names are those of the terminal's commands and flags. They are imported when they are first used, so
that ``import tl_toolkit`` and ``tl --help`` do not wait for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tl_toolkit.version import __version__

if TYPE_CHECKING:
    from tl_toolkit.api import build_model, evaluate, finetune, load, rank, resume
    from tl_toolkit.config.finetune import FinetuneConfig
    from tl_toolkit.data.dataset import ImageDataset
    from tl_toolkit.data.sources.base import open_source
    from tl_toolkit.errors import ToolkitError
    from tl_toolkit.input_spec import InputSpec

_HOMES = {
    "FinetuneConfig": "tl_toolkit.config.finetune",
    "ImageDataset": "tl_toolkit.data.dataset",
    "InputSpec": "tl_toolkit.input_spec",
    "ToolkitError": "tl_toolkit.errors",
    "build_model": "tl_toolkit.api",
    "evaluate": "tl_toolkit.api",
    "finetune": "tl_toolkit.api",
    "load": "tl_toolkit.api",
    "open_source": "tl_toolkit.data.sources.base",
    "rank": "tl_toolkit.api",
    "resume": "tl_toolkit.api",
}

__all__ = [
    "FinetuneConfig",
    "ImageDataset",
    "InputSpec",
    "ToolkitError",
    "__version__",
    "build_model",
    "evaluate",
    "finetune",
    "load",
    "open_source",
    "rank",
    "resume",
]


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
