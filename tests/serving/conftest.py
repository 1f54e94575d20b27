"""A server that most tests of this folder share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.serving import Site, serve_model
from tl_toolkit.recipes.finetune import Run


@pytest.fixture(scope="module")
def site(judged_run: Run) -> Iterator[Site]:
    """A server of a small model that knows unknown images."""
    with serve_model(judged_run.model, judged_run.path / "model.safetensors") as found:
        yield found


@pytest.fixture
def digits(tiny_data: Path) -> list[Path]:
    """Some images."""
    return sorted((tiny_data / "test").rglob("*.png"))[::4]
