from pathlib import Path

from tl_toolkit.inference.classifier import BATCH
from tl_toolkit.inference.prediction import FailedPrediction, Prediction
from tl_toolkit.recipes.finetune import Run
from tl_toolkit.recipes.predict import find_images, predict_stream


def test_find_images_opens_folders_and_patterns_and_keeps_missing_paths(tmp_path: Path):
    for name in ("a/1.png", "a/b/2.png", "c [1].png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    inputs = [
        str(tmp_path / "a"),
        str(tmp_path / "**/*.png"),
        str(tmp_path / "*"),
        str(tmp_path / "c [1].png"),
        "missing*.png",
    ]
    assert list(find_images(inputs)) == [
        *(str(tmp_path / name) for name in ("a/1.png", "a/b/2.png")),
        *(str(tmp_path / name) for name in ("a/1.png", "a/b/2.png", "c [1].png")),
        *(str(tmp_path / name) for name in ("a/1.png", "a/b/2.png", "c [1].png")),
        str(tmp_path / "c [1].png"),
        "missing*.png",
    ]


def test_predict_stream_keeps_the_order_over_batches_and_bad_files(tiny_run: Run, tiny_data: Path, tmp_path: Path):
    good = [str(path) for path in sorted((tiny_data / "train").rglob("*.png"))]
    (tmp_path / "bad.png").touch()
    paths = [*good, str(tmp_path / "bad.png"), *good[:5]]
    assert len(paths) > 2 * BATCH
    results = list(predict_stream(tiny_run.model, iter(paths), top_k=1))
    assert [result.path for result in results] == paths
    assert results[len(good)] == FailedPrediction(str(tmp_path / "bad.png"), "the file is empty")
    assert all(isinstance(result, Prediction) for result in results[: len(good)])


def test_predict_stream_of_bad_files_alone_predicts_nothing(tiny_run: Run, tmp_path: Path):
    assert list(predict_stream(tiny_run.model, [str(tmp_path / "x.png")], 5)) == [
        FailedPrediction(str(tmp_path / "x.png"), "No such file or directory")
    ]


def test_predict_stream_of_nothing_ends(tiny_run: Run):
    assert list(predict_stream(tiny_run.model, [], 5)) == []
