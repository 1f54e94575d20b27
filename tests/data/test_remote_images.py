import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

import tl_toolkit as tl
from tests.helpers.servers import FileServer, serve_files
from tl_toolkit.cli.main import app
from tl_toolkit.data.sources.base import open_source
from tl_toolkit.errors import DownloadError, ImageError, ToolkitError
from tl_toolkit.events import Event, WarningEvent
from tl_toolkit.io import remote_access


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_access, "PAUSES", (0.0, 0.0))


@pytest.fixture
def server(photos: Path) -> Iterator[FileServer]:
    with serve_files(photos) as server:
        yield server


def write_table(path: Path, photos: Path, prefix: str) -> Path:
    rows = [f"{prefix}{file.relative_to(photos)},{file.parent.name}" for file in sorted(photos.glob("*/*"))]
    path.write_text("\n".join(["path,label", *rows]) + "\n")
    return path


def test_open_table_of_urls_names_images_by_them(server: FileServer, photos: Path, tmp_path: Path) -> None:
    source = open_source(str(write_table(tmp_path / "birds.csv", photos, f"{server.url}/")))
    relative = write_table(tmp_path / "relative.csv", photos, "./")
    from_root = open_source(str(relative), image_root=server.url)
    train = source.splits["train"]
    assert (train.name(0), source.root) == (f"{server.url}/0/{min((photos / '0').iterdir()).name}", tmp_path)
    assert from_root.splits["train"].names() == train.names()
    assert from_root.root is None
    assert train.inspect(0).mode == "L"
    assert server.count("GET") == 1


def test_open_table_of_paths_and_urls_reads_both(server: FileServer, photos: Path, tmp_path: Path) -> None:
    here, there = sorted((photos / "0").iterdir())[:2]
    table = tmp_path / "birds.csv"
    table.write_text(f"path,label\n{here},a\n{server.url}/0/{there.name},b\n")
    train = open_source(str(table)).splits["train"]
    assert train.names() == [str(here), f"{server.url}/0/{there.name}"]
    assert [train.inspect(index).mode for index in range(2)] == ["L", "L"]
    assert train.are_encoded
    assert len(set(train.identities())) == 2


@pytest.mark.parametrize("workers", [0, 2])
def test_finetune_on_urls_gives_the_weights_of_the_files(
    server: FileServer, photos: Path, tmp_path: Path, tiny_settings: dict[str, Any], workers: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("TL_CACHE", str(tmp_path / "cache"))
    shutil.copytree(photos, tmp_path / "copy")
    fixed = write_table(tmp_path / "table.csv", photos, "./")
    rows = fixed.read_text().splitlines()
    fixed.write_text(
        "\n".join([f"{rows[0]},split", *(f"{row},{'val' if at % 3 else 'train'}" for at, row in enumerate(rows[1:]))])
    )
    weights = []
    for root in (str(tmp_path / "copy"), server.url):
        settings = {**tiny_settings, "image_root": root, "workers": workers, "feature_cache": False}
        run = tl.finetune(data=fixed, **settings, out=str(tmp_path / f"run {len(weights)}"))
        weights.append(load_file(run.path / "last.safetensors"))
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    assert server.count("GET") == 30


def test_finetune_on_urls_that_are_missing_leaves_them_out(
    server: FileServer, photos: Path, tmp_path: Path, tiny_settings: dict[str, Any]
) -> None:
    table = write_table(tmp_path / "birds.csv", photos, f"{server.url}/")
    missing = min((photos / "0").iterdir())
    missing.unlink()
    events: list[Event] = []
    tl.finetune(data=table, **tiny_settings, out=str(tmp_path / "run"), callback=events.append)
    told = [event.message for event in events if isinstance(event, WarningEvent)]
    assert told[0] == (
        f"1 image cannot be read and is left out:\n  {server.url}/0/{missing.name}: the server answered 404 Not Found"
    )


def test_finetune_without_the_server_stops(photos: Path, tmp_path: Path, tiny_settings: dict[str, Any]) -> None:
    with serve_files(photos) as server:
        table = write_table(tmp_path / "birds.csv", photos, f"{server.url}/")
    with pytest.raises(ToolkitError, match=r"The last \d+ files of .* cannot be fetched, such as"):
        tl.finetune(data=table, **tiny_settings, out=str(tmp_path / "run"))


def test_image_of_a_server_that_is_gone_is_not_called_unreadable(photos: Path, tmp_path: Path) -> None:
    with serve_files(photos) as server:
        train = open_source(str(write_table(tmp_path / "birds.csv", photos, f"{server.url}/"))).splits["train"]
    assert len(train) > remote_access.MAX_IN_A_ROW
    with pytest.raises(DownloadError, match="The last 8 files of"):
        for index in range(len(train)):
            with contextlib.suppress(ImageError):
                train.inspect(index)


def test_cache_shows_and_clears_remote_files(
    server: FileServer, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TL_CACHE", str(tmp_path / "cache"))
    source = open_source(str(write_table(tmp_path / "birds.csv", photos, f"{server.url}/")))
    for index in range(3):
        source.splits["train"].inspect(index)
    shown = CliRunner(env={"COLUMNS": "120"}).invoke(app, ["cache"])
    assert "remote files" in shown.output
    cleared = CliRunner().invoke(app, ["cache", "clear", "--yes"])
    assert "Removed 1 entry" in cleared.output
    assert not (tmp_path / "cache" / "remote").exists()
