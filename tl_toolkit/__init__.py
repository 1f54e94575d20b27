"""Fine-tune pretrained image networks on your own classes.

    import tl_toolkit as tl

    run = tl.finetune(arch="resnet18", data="photos/")
    model = tl.load(run.path)
    model.predict("cat.png")

The names are those of the terminal's commands and flags. Each is imported when it is first used, so that
``import tl_toolkit`` and ``tl --help`` do not wait for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tl_toolkit.version import __version__ as __version__

if TYPE_CHECKING:
    from tl_toolkit.config.finetune import FinetuneConfig as FinetuneConfig
    from tl_toolkit.data.dataset import ImageDataset as ImageDataset
    from tl_toolkit.data.sources.base import open_source as open_source
    from tl_toolkit.errors import ToolkitError as ToolkitError
    from tl_toolkit.inference.loading import load as load
    from tl_toolkit.inference.onnx_classifier import OnnxClassifier as OnnxClassifier
    from tl_toolkit.input_spec import InputSpec as InputSpec
    from tl_toolkit.models.build import build_model as build_model
    from tl_toolkit.planning.ranking import RankedNetwork as RankedNetwork
    from tl_toolkit.recipes.compare import compare as compare
    from tl_toolkit.recipes.evaluate import evaluate as evaluate
    from tl_toolkit.recipes.export import export as export
    from tl_toolkit.recipes.finetune import Run as Run
    from tl_toolkit.recipes.finetune import finetune as finetune
    from tl_toolkit.recipes.finetune import resume as resume
    from tl_toolkit.recipes.import_model import import_model as import_model
    from tl_toolkit.recipes.inspect import inspect as inspect
    from tl_toolkit.recipes.push import push as push
    from tl_toolkit.recipes.rank import rank as rank
    from tl_toolkit.recipes.report import write_report as write_report

_MODULES = {
    "FinetuneConfig": "config.finetune",
    "ImageDataset": "data.dataset",
    "InputSpec": "input_spec",
    "OnnxClassifier": "inference.onnx_classifier",
    "RankedNetwork": "planning.ranking",
    "Run": "recipes.finetune",
    "ToolkitError": "errors",
    "build_model": "models.build",
    "compare": "recipes.compare",
    "evaluate": "recipes.evaluate",
    "export": "recipes.export",
    "finetune": "recipes.finetune",
    "import_model": "recipes.import_model",
    "inspect": "recipes.inspect",
    "load": "inference.loading",
    "open_source": "data.sources.base",
    "push": "recipes.push",
    "rank": "recipes.rank",
    "resume": "recipes.finetune",
    "write_report": "recipes.report",
}
__all__ = ["__version__", *_MODULES]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted(__all__)
