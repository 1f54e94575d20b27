import gzip
import io
import struct
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch

from tests.benchmarks.league import __main__ as league
from tests.benchmarks.league import results
from tests.benchmarks.league.data import prepared
from tests.benchmarks.league.entrants import Task
from tests.benchmarks.league.picture import draw_picture
from tests.benchmarks.league.report import show, summarize
from tests.benchmarks.league.results import Result
from tests.benchmarks.rivals import lite0


def result(entrant: str = "tl", data: str = "ants", seed: int = 0, **values: float) -> Result:
    plain = {"accuracy": 0.9, "seconds": 10.0, "cpu_seconds": 9.0, "images_per_second": 50.0, "load": 0.5}
    told = {"settings": {}, "versions": {}, "hardware": "EPYC, 2 cores", "threads": 1, "finished": "2026-01-01"}
    return Result(entrant, data, seed, **(plain | told | values))


def pack(archive: Path, counts: Mapping[str, int]) -> None:
    """Writes an archive with so many files in each folder; a file holds its own name."""
    with tarfile.open(archive, "w:gz" if archive.suffix == ".gz" else "w") as packed:
        for folder, count in counts.items():
            for index in range(count):
                member = tarfile.TarInfo(f"{folder}/{index:04d}.jpg")
                member.size = len(member.name)
                packed.addfile(member, io.BytesIO(member.name.encode()))


def write_idx(path: Path, values: list[int], *shape: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    header = struct.pack(f">{1 + len(shape)}I", 0x800 + len(shape), *shape)
    path.write_bytes(gzip.compress(header + bytes(values)))


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_prepare_photographs_takes_all_and_calls_what_accuracy_is_measured_on_test(tmp_path: Path):
    pack(tmp_path / "hymenoptera.tar", {"hymenoptera/train/ants": 3, "hymenoptera/val/ants": 2})
    pack(tmp_path / "caltech101.tar", {"caltech101/train/Faces": 2, "caltech101/test/Faces": 1})
    ants = prepared("ants", tmp_path, tmp_path / "work")
    assert files(ants) == [*(f"test/ants/000{i}.jpg" for i in range(2)), *(f"train/ants/000{i}.jpg" for i in range(3))]
    assert (ants / "test/ants/0001.jpg").read_text() == "hymenoptera/val/ants/0001.jpg"
    caltech = prepared("caltech", tmp_path, tmp_path / "work")
    assert files(caltech) == ["test/Faces/0000.jpg", "train/Faces/0000.jpg", "train/Faces/0001.jpg"]


def test_prepare_cifar10_draws_train_and_takes_the_first_of_test(tmp_path: Path):
    counts = {f"cifar10/{split}/{name}": count for split, count in (("train", 130), ("test", 205)) for name in "ab"}
    pack(tmp_path / "cifar10.tar.gz", counts)
    first, again = (files(prepared("cifar", tmp_path, tmp_path / work)) for work in ("one", "two"))
    assert first == again
    drawn = {name: [file[-8:] for file in first if file.startswith(f"train/{name}/")] for name in "ab"}
    assert len(drawn["a"]) == len(drawn["b"]) == 100
    assert drawn["a"] != drawn["b"]
    assert [file for file in first if file.startswith("test/a/")] == [f"test/a/{i:04d}.jpg" for i in range(200)]


def test_prepare_mnist_writes_as_many_digits_of_each_class(tmp_path: Path):
    raw = tmp_path / "mnist" / "MNIST" / "raw"
    for prefix, each in (("train", 60), ("t10k", 220)):
        targets = [target for target in range(10) for _ in range(each)]
        write_idx(raw / f"{prefix}-labels-idx1-ubyte.gz", targets, len(targets))
        pixels = [target for target in targets for _ in range(784)]
        write_idx(raw / f"{prefix}-images-idx3-ubyte.gz", pixels, len(targets), 28, 28)
    folder = prepared("mnist", tmp_path, tmp_path / "work")
    for target in range(10):
        assert len(files(folder / "train" / str(target))) == 50
        assert len(files(folder / "test" / str(target))) == 200
        indices = [int(Path(file).stem) for file in files(folder / "train" / str(target))]
        assert all(index // 60 == target for index in indices)


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[tuple[str, str, int]]]:
    """Runs a league on ants whose entrants take no time, and tells what it ran."""
    pack(tmp_path / "hymenoptera.tar", {"hymenoptera/train/ants": 1, "hymenoptera/val/ants": 1})

    def run(*arguments: str, broken: str = "") -> list[tuple[str, str, int]]:
        ran = []

        def measure(entrant: str, task: Task) -> Result:
            ran.append((entrant, task.data, task.seed))
            if entrant == broken:
                raise SystemExit(f"{entrant} failed")
            return result(entrant, task.data, task.seed)

        monkeypatch.setattr(league, "measure", measure)
        common = ["--data-root", str(tmp_path), "--results", str(tmp_path / "league.jsonl"), "--only-data", "ants"]
        try:
            league.main([*common, *arguments])
        except SystemExit as error:
            assert broken, error
        return ran

    return run


def test_league_leaves_out_what_is_finished(play: Callable[..., list[tuple[str, str, int]]], tmp_path: Path):
    assert play() == [("tl", "ants", 0), ("tl-probe", "ants", 0)]
    with (tmp_path / "league.jsonl").open("a") as file:
        file.write('{"entrant": "tl", "da')  # As a killed run leaves it.
    more = ("--seeds", "0", "1", "--rivals", "python", "--only-entrants", "tl", "timm")
    assert play(*more) == [("timm", "ants", 0), ("tl", "ants", 1), ("timm", "ants", 1)]
    assert play(*more) == []
    assert len(results.read(tmp_path / "league.jsonl")) == 5


def test_league_goes_on_after_an_entrant_fails(play: Callable[..., list[tuple[str, str, int]]], tmp_path: Path):
    assert play(broken="tl") == [("tl", "ants", 0), ("tl-probe", "ants", 0)]
    assert [each.triple for each in results.read(tmp_path / "league.jsonl")] == [("tl-probe", "ants", 0)]
    assert play() == [("tl", "ants", 0)]


def test_report_tells_mean_spread_and_medians(capsys: pytest.CaptureFixture[str]):
    runs = [result(seed=seed, accuracy=a, seconds=s) for seed, a, s in ((0, 0.90, 10), (1, 0.92, 30), (2, 0.97, 12))]
    row, single = summarize([*runs, result("timm")])
    assert row.accuracies == (0.90, 0.92, 0.97)
    assert row.mean == pytest.approx(0.93)
    assert row.spread == pytest.approx(0.0360555)
    assert row.seconds == 12
    assert single.spread is None
    show(runs)
    printed = capsys.readouterr().out
    assert all(part in printed for part in ("Ants and bees", "0.9300", "0.0361", "EPYC, 2 cores"))


def test_summary_counts_the_last_run_of_a_triple():
    (row,) = summarize([result(accuracy=0.1), result(accuracy=0.9)])
    assert row.accuracies == (0.9,)


def test_labels_of_entrants_that_are_close_together_do_not_overlap(tmp_path: Path):
    names = ("tl", "tl-probe", "fastai", "timm", "hf")
    runs = [result(name, seconds=100 + i, accuracy=0.9 + i / 1000) for i, name in enumerate(names)]
    figure = draw_picture([*runs, result(data="caltech")], tmp_path / "league.png")
    assert (tmp_path / "league.png").stat().st_size > 10_000
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert len(boxes) == 5
    assert not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])


def test_rivals_weights_fit_timms_network():
    pytest.importorskip(lite0.WEIGHTS_PACKAGE)
    state = lite0.pretrained_state()
    assert len(state) == 247
    assert state["conv_stem.weight"].shape == torch.Size([32, 3, 3, 3])
