"""torchvision and timm without torch's compiler, and the compiler after them; each in a process of its own."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tl_toolkit.recipes.finetune import Run
from tl_toolkit.system import libraries

PREDICT = """
import sys
from tl_toolkit.cli.main import app
try:
    app(["predict", *sys.argv[1:], "--format", "csv"])
finally:
    print("HEAVY", sorted({"torch._dynamo", "accelerate", "matplotlib", "sympy"} & set(sys.modules)))
"""

COMPILE = """
import sys
import torch
from tl_toolkit.system.libraries import timm, torchvision
assert torch.compiler.disable.__module__ == "torch.compiler", torch.compiler.disable
assert "torch._dynamo" not in sys.modules
assert "torch._dynamo.utils" not in sys.modules
import torch._dynamo.utils
assert torch._dynamo.utils.is_compile_supported.__module__ == "torch._dynamo.utils"

module = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU())
inputs = torch.arange(8.0).reshape(2, 4)
compiled = torch.compile(module, backend="eager", fullgraph=True)
assert torch.equal(compiled(inputs), module(inputs))
exported = torch.export.export(module, (inputs,)).module()
assert torch.equal(exported(inputs), module(inputs))

assert sys.modules["torchvision.ops.roi_align"].is_compile_supported("cpu") is True  # What stood in asks the real one.
"""

STAND_IN = """
import sys
from tl_toolkit.system import libraries
with libraries._without_compiler():
    import torch._dynamo.utils as stand_in
    from torch._dynamo.utils import is_compile_supported, counters
assert counters is sys.modules["torch._dynamo.utils"].counters
assert is_compile_supported("cpu") is True
"""


def _run(code: str, *arguments: object) -> str:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_predict_imports_neither_compiler_nor_what_trains_or_draws(tiny_run: Run, tiny_data: Path):
    image = next((tiny_data / "test").rglob("*.png"))
    assert _run(PREDICT, image, "--model", tiny_run.path).rstrip().endswith("HEAVY []")


def test_compiler_is_whole_after_libraries_were_imported():
    _run(COMPILE)


def test_stand_in_gives_way_to_whoever_needs_the_compiler_during_an_import():
    _run(STAND_IN)


def test_function_kept_from_the_compiler_runs_in_compiled_code():
    add = libraries._disable_when_called(lambda numbers: numbers + 1)
    doubled = torch.compile(lambda numbers: add(numbers) * 2, backend="eager")
    assert doubled(torch.ones(1)).item() == 4


def test_other_library_is_not_there():
    with pytest.raises(ImportError, match="cannot import name 'numpy'"):
        from tl_toolkit.system.libraries import numpy  # noqa: F401
