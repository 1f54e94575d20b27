from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.helpers.folders import copy_digits
from tests.helpers.servers import serve_files
from tl_toolkit.cli.main import app
from tl_toolkit.config.finetune import FinetuneConfig
from tl_toolkit.data.prepare import prepare_splits
from tl_toolkit.data.sources.base import Source, open_source


def split(*arguments: object) -> str:
    done = CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1"}).invoke(app, ["data", "split", *map(str, arguments)])
    assert done.exit_code == 0, done.output
    return done.output


def message_of(*arguments: object) -> str:
    done = CliRunner(env={"COLUMNS": "500", "NO_COLOR": "1"}).invoke(app, ["data", "split", *map(str, arguments)])
    assert done.exit_code in (1, 2)
    return done.output.removeprefix("Error: ").strip()


def names(source: Source) -> dict[str, set[str]]:
    return {name: {Path(path).resolve().as_posix() for path in part.names()} for name, part in source.splits.items()}


def test_split_of_folder_is_that_of_a_run(photos: Path, tmp_path: Path) -> None:
    table = tmp_path / "split.csv"
    shown = split(photos, "--out", table, "--val-split", 0.3, "--seed", 3)
    assert "photos: 21 train, 9 val images" in shown
    ours = prepare_splits(open_source(photos), FinetuneConfig(val_split=0.3, seed=3), 0, lambda _: None)
    read = open_source(str(table))
    assert names(read) == {
        name: {Path(path).resolve().as_posix() for path in samples.names()} for name, samples in ours.present.items()
    }
    assert read.class_names == ("0", "1", "7")
    assert table.read_text().splitlines()[0] == "path,label,split"
    assert table.read_text().splitlines()[1].startswith("photos/0/")


def test_split_with_test_takes_shares_of_all(photos: Path, tmp_path: Path) -> None:
    table = tmp_path / "split.csv"
    split(photos, "--out", table, "--val-split", 0.2, "--test-split", 0.3)
    assert {name: len(part) for name, part in open_source(str(table)).splits.items()} == {
        "train": 15,
        "val": 6,
        "test": 9,
    }


def test_split_of_data_with_splits_keeps_them(tmp_path: Path) -> None:
    copy_digits(tmp_path / "data" / "train", ["0", "1"], 10)
    copy_digits(tmp_path / "data" / "val", ["0", "1"], 2, "test")
    table = tmp_path / "split.csv"
    split(tmp_path / "data", "--out", table, "--test-split", 0.2)
    read = open_source(str(table))
    assert names(read)["val"] == names(open_source(tmp_path / "data"))["val"]
    assert len(read.splits["test"]) == 4
    assert message_of(tmp_path / "data", "--out", tmp_path / "other.csv", "--val-split", 0.2) == (
        "data has val of its own: leave out --val-split."
    )


def test_split_of_table_keeps_groups_and_lists_of_labels(photos: Path, tmp_path: Path) -> None:
    files = sorted(photos.glob("*/*"))
    rows = [f'{file};["{file.parent.name}", "all"];p{at // 4}' for at, file in enumerate(files)]
    (tmp_path / "in.csv").write_text("\n".join(["path;tags;patient", *(row.replace('"', "'") for row in rows)]))
    table = tmp_path / "split.csv"
    split(tmp_path / "in.csv", "--group-column", "patient", "--out", table, "--val-split", 0.3)
    read = open_source(str(table), group_column="group")
    assert (read.task, read.class_names) == ("multi-label", ("0", "1", "7", "all"))
    assert not set(read.splits["train"].groups) & set(read.splits["val"].groups)
    assert sum(map(len, read.splits.values())) == 30
    target: Any = read.splits["val"].targets[0]
    assert target.sum() == 2


def test_split_of_soft_labels_writes_a_column_a_class(photos: Path, tmp_path: Path) -> None:
    files = sorted(photos.glob("*/*"))
    (tmp_path / "in.csv").write_text(
        "\n".join(["path,a,b", *(f"{file},0.25,0.75" for file in files[:15]), *(f"{file},1,0" for file in files[15:])])
    )
    table = tmp_path / "split.csv"
    shown = split(tmp_path / "in.csv", "--label-column", "a", "--label-column", "b", "--out", table)
    assert "tl finetune" in shown
    assert "--label-column a --label-column b" in shown
    read = open_source(str(table), label_column=("a", "b"))
    assert read.task == "soft"
    assert set(np.asarray(read.splits["train"].targets)[:, 0].tolist()) == {0.25, 1.0}


def test_split_of_urls_keeps_them(photos: Path, tmp_path: Path) -> None:
    with serve_files(photos) as server:
        rows = [f"{server.url}/{file.relative_to(photos)},{file.parent.name}" for file in sorted(photos.glob("*/*"))]
        (tmp_path / "in.csv").write_text("\n".join(["path,label", *rows]))
        split(tmp_path / "in.csv", "--out", tmp_path / "split.csv")
        read = open_source(str(tmp_path / "split.csv"))
    assert {name for part in read.splits.values() for name in part.names()} == {row.split(",")[0] for row in rows}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "split.txt"], "--out split.txt is to be a table: name it split.csv."),
        (["--out", "nowhere/split.csv"], "There is no folder nowhere for split.csv. Make it, or choose another --out."),
        (
            ["--out", "a.csv", "--val-split", "0.6", "--test-split", "0.4"],
            "--val-split and --test-split leave nothing to train on.",
        ),
    ],
)
def test_split_that_cannot_be_is_refused(photos: Path, in_folder: Path, arguments: list[str], message: str) -> None:
    assert message_of(photos, *arguments) == message


def test_split_of_images_that_are_no_files_names_pack(photos: Path, tmp_path: Path) -> None:
    packed = CliRunner().invoke(app, ["data", "pack", str(photos), "--out", str(tmp_path / "shards")])
    assert packed.exit_code == 0
    assert "`tl data pack DATA --out shards/` writes them as shards" in message_of(
        tmp_path / "shards", "--out", tmp_path / "split.csv"
    )
