import csv
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.benchmarks import multilabel


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Twelve photographs of each of five classes, each of one colour."""
    for number in range(60):
        path = tmp_path / "photographs" / ("train" if number % 2 else "test") / f"class{number % 5}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (30 + number % 7, 20), (40 * (number % 5), 4 * number, 0)).save(path)
    return tmp_path / "photographs"


def build(photographs: Path, out: Path, **settings: object) -> list[multilabel.Mosaic]:
    return multilabel.build(photographs, out, **{"classes": 4, "group_size": 4, "per_group": 5, "cell": 16, **settings})


def test_build_writes_the_same_bytes_with_the_same_seed(photographs: Path, tmp_path: Path):
    first, second, other = (build(photographs, tmp_path / str(number), seed=number // 2) for number in range(3))
    assert first == second
    assert first != other
    for name in ("labels.csv", f"images/{first[0].name}", f"images/{first[-1].name}"):
        assert (tmp_path / "0" / name).read_bytes() == (tmp_path / "1" / name).read_bytes()


def test_build_shares_no_photograph_between_groups_or_splits(photographs: Path, tmp_path: Path):
    mosaics = build(photographs, tmp_path / "out")
    groups, splits = defaultdict(set), defaultdict(set)
    for mosaic in mosaics:
        splits[mosaic.group].add(mosaic.split)
        for photograph in mosaic.photographs:
            groups[photograph.path].add(mosaic.group)
    assert {len(of) for of in groups.values()} == {1}
    assert {len(of) for of in splits.values()} == {1}
    assert {split for of in splits.values() for split in of} == {"train", "val", "test"}


def test_build_labels_an_image_by_the_folders_of_its_photographs(photographs: Path, tmp_path: Path):
    mosaics = build(photographs, tmp_path / "out")
    with (tmp_path / "out" / "labels.csv").open(newline="") as file:
        rows = {row["path"]: row for row in csv.DictReader(file)}
    assert len(rows) == len(mosaics)
    for mosaic in mosaics:
        row = rows[f"images/{mosaic.name}"]
        assert set(row["labels"].split(";")) == {photograph.path.parent.name for photograph in mosaic.photographs}
        assert (row["split"], row["group"]) == (mosaic.split, mosaic.group)
    assert {len(mosaic.photographs) for mosaic in mosaics} == {2, 3}


def test_build_writes_lists_as_json(photographs: Path, tmp_path: Path):
    [first, *_] = build(photographs, tmp_path / "out", separator="json")
    with (tmp_path / "out" / "labels.csv").open(newline="") as file:
        assert json.loads(next(csv.DictReader(file))["labels"]) == first.labels


def test_image_has_each_photograph_in_its_cell(photographs: Path, tmp_path: Path):
    for mosaic in build(photographs, tmp_path / "out"):
        columns, rows = mosaic.size
        with Image.open(tmp_path / "out" / "images" / mosaic.name) as image:
            assert image.size == (16 * columns, 16 * rows)
            for photograph, (column, row) in zip(mosaic.photographs, mosaic.cells, strict=True):
                red = image.getpixel((16 * column + 8, 16 * row + 8))[0]
                assert red == pytest.approx(40 * int(photograph.label.removeprefix("class")), abs=12)


def test_bootstrap_draws_whole_groups():
    groups = ["a"] * 90 + ["b"] * 10
    low, high = multilabel.bootstrap(groups, lambda images: float(np.mean(images < 90)), 200)
    assert (low, high) == (0.0, 1.0)  # Single images would give 0.84 to 0.95.


def test_chance_level_is_what_random_scores_reach():
    pytest.importorskip("sklearn")
    generator = np.random.default_rng(0)
    truth = (generator.random((4000, 3)) < [0.1, 0.3, 0.5]).astype(np.float32)
    measured = multilabel.mean_average_precision(truth, generator.random((4000, 3)))
    assert measured == pytest.approx(multilabel.chance_level(truth), abs=0.02)
