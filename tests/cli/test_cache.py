import json
from pathlib import Path

import pytest
import torch

from tests.helpers.terminal import run_tl
from tl_toolkit.io.row_cache import RowCache


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with one entry of two rows."""
    monkeypatch.setenv("TL_CACHE", str(tmp_path / "cache ä"))
    RowCache(tmp_path / "cache ä", {"arch": "x"}, "resnet18 up to fc").write([b"a" * 16, b"b" * 16], torch.rand(2, 512))
    return tmp_path / "cache ä"


def test_cache_lists_entries_with_sizes(cache: Path):
    result = run_tl("cache")
    assert result.exit_code == 0
    assert str(cache) in result.stdout
    assert "resnet18 up to fc" in result.stdout
    assert "KiB" in result.stdout


def test_cache_json_is_for_machines(cache: Path):
    [entry] = json.loads(run_tl("cache", "--json").stdout)
    assert (entry["what"], entry["images"]) == ("resnet18 up to fc", 2)
    assert entry["path"].startswith(str(cache))


def test_cache_clear_asks_first_and_empties_it(cache: Path):
    refused = run_tl("cache", "clear", stdin="n\n")
    assert refused.exit_code == 1
    assert "resnet18" in run_tl("cache").stdout
    assert "Removed 1 entry" in run_tl("cache", "clear", stdin="y\n").stdout
    assert ": empty\n" in run_tl("cache").stdout
    assert run_tl("cache", "clear").exit_code == 0
    assert list((cache / "features").iterdir()) == []


def test_cache_clear_yes_does_not_ask(cache: Path):
    assert "Removed 1 entry" in run_tl("cache", "clear", "--yes").stdout
