from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import tl_toolkit as tl
from tl_toolkit.config.finetune import FinetuneConfig
from tl_toolkit.data.prepare import prepare_splits
from tl_toolkit.data.samples import Samples
from tl_toolkit.data.sources.base import Source, open_source
from tl_toolkit.errors import DataError, UsageError


def write(folder: Path, *rows: str, name: str = "birds.csv") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(rows) + "\n")
    return path


def opened(path: Path, **options: Any) -> Source:
    return open_source(str(path), **options)


def paths(samples: Samples) -> list[str | None]:
    return [samples.images.path(index) for index in range(len(samples))]


def test_open_table_gives_paths_relative_to_it(tmp_path: Path) -> None:
    source = opened(write(tmp_path, "path,label", "a.png,wren", "sub/b.png,crow", "./c.png,crow", "/d.png,wren"))
    assert (source.name, source.root, source.class_names) == ("birds.csv", tmp_path, ("crow", "wren"))
    assert paths(source.splits["train"]) == [
        f"{tmp_path}/a.png",
        f"{tmp_path}/sub/b.png",
        f"{tmp_path}/c.png",
        "/d.png",
    ]


def test_open_table_with_image_root_gives_paths_relative_to_that(tmp_path: Path) -> None:
    table = write(tmp_path, "path,label", "a.png,wren", f"{tmp_path}/photos/b.png,crow")
    source = opened(table, image_root=str(tmp_path / "photos"))
    assert source.root == tmp_path / "photos"
    assert paths(source.splits["train"]) == [f"{tmp_path}/photos/a.png", f"{tmp_path}/photos/b.png"]


def test_open_table_of_the_working_directory_gives_plain_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "path,label", "a.png,wren", f"{tmp_path}/b.png,crow", f"file://{tmp_path}/c%20d.png,crow")
    assert paths(open_source("birds.csv").splits["train"]) == ["a.png", "b.png", "c d.png"]


def test_open_table_with_backslashes_takes_them_as_separators_where_no_such_file_is(tmp_path: Path) -> None:
    (tmp_path / "a\\b.png").touch()
    source = opened(write(tmp_path, "path,label", "a\\b.png,wren", "sub\\b.png,crow", "C:\\x\\c.png,crow"))
    assert paths(source.splits["train"]) == [
        f"{tmp_path}/a\\b.png",
        f"{tmp_path}/sub/b.png",
        f"{tmp_path}/C:/x/c.png",
    ]


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("birds.tsv", ["path\tlabel\tsplit", "a.png\twren\ttrain", "b.png\tcrow\tval"]),
        (
            "birds.jsonl",
            [
                '{"path": "a.png", "label": "wren", "split": "train"}',
                '{"path": "b.png", "label": "crow", "split": "val"}',
            ],
        ),
        ("BIRDS.CSV", ["path,label,split", "a.png,wren,train", "b.png,crow,val"]),
    ],
)
def test_open_table_of_other_formats_reads_them(tmp_path: Path, name: str, rows: list[str]) -> None:
    with pytest.raises(DataError, match=r"val has a class \(crow\) that train lacks"):
        opened(write(tmp_path, *rows, name=name))


def test_open_table_with_a_column_a_class_gives_rows_of_numbers(tmp_path: Path) -> None:
    table = write(tmp_path, "path,cat,dog", "a.png,1,1", "b.png,0,1")
    source = opened(table, label_column=("cat", "dog"))
    assert (source.task, source.class_names) == ("multi-label", ("cat", "dog"))


def test_open_table_with_groups_carries_them(tmp_path: Path) -> None:
    table = write(tmp_path, "path,label,patient", "a.png,cat,p1", "b.png,dog,p2")
    assert opened(table, group_column="patient").splits["train"].groups == ["p1", "p2"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["path,label", ",cat", "b.png,dog", '" ",cat'], "birds.csv has 2 rows without a path (line 2, line 4)."),
    ],
)
def test_open_table_without_paths_is_refused(tmp_path: Path, rows: list[str], message: str) -> None:
    with pytest.raises(DataError) as raised:
        opened(write(tmp_path, *rows))
    assert str(raised.value) == message


def test_open_table_with_path_that_is_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError) as raised:
        opened(write(tmp_path, '{"path": "a.png", "label": 1}', '{"path": 3, "label": 1}', name="birds.jsonl"))
    assert str(raised.value) == "line 2 of birds.jsonl has 3 as a path, not text."


def test_open_table_that_is_missing_names_the_nearest(tmp_path: Path) -> None:
    write(tmp_path, "path,label", "a.png,cat")
    with pytest.raises(UsageError) as raised:
        open_source(str(tmp_path / "brids.csv"))
    assert str(raised.value) == f"There is no table '{tmp_path}/brids.csv'. Did you mean birds.csv?"
    with pytest.raises(UsageError, match="is far away: download the table"):
        open_source("https://example.org/birds.csv")


def test_open_folder_named_like_a_table_is_a_folder(photos: Path) -> None:
    renamed = photos.rename(photos.with_name("photos.csv"))
    assert open_source(str(renamed)).class_names == ("0", "1", "7")


def test_finetune_on_table_that_lists_a_folder_gives_the_same_weights(
    photos: Path, tiny_settings: dict[str, Any], tmp_path: Path
) -> None:
    files = [str(file.relative_to(photos)) for file in sorted(photos.glob("*/*"))]
    table = write(tmp_path / "elsewhere", "file,class", *(f"{file},{file[0]}" for file in files))
    settings = {**tiny_settings, "val_split": 0.3, "feature_cache": False}
    weights = []
    for data, own in ((photos, {}), (table, {"image_root": str(photos)})):
        run = tl.finetune(data=data, **settings, **own, out=str(tmp_path / f"run {len(weights)}"))
        weights.append(load_file(run.path / "last.safetensors"))
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def test_seeded_split_of_table_is_that_of_its_folder(photos: Path) -> None:
    files = [str(file.relative_to(photos)) for file in sorted(photos.glob("*/*"))]
    table = write(photos.parent, "file,class", *(f"{file},{file[0]}" for file in reversed(files)))
    sources = opened(photos), opened(table, image_root=str(photos))
    config = FinetuneConfig(val_split=0.3)
    divided = [prepare_splits(source, config, 0, lambda _: None) for source in sources]
    for split in ("train", "val"):
        one, two = (sorted(getattr(splits, split).names()) for splits in divided)
        assert one == two
