"""`tl predict` from every kind of file that `tl export` writes."""

import csv
import json
from pathlib import Path

import pytest

import tl_toolkit as tl
from tests.helpers.exports import noise
from tests.helpers.onnx_files import linear, metadata_of, write_onnx
from tests.helpers.terminal import run_tl
from tl_toolkit.exports.base import ExportOptions
from tl_toolkit.exports.writing import export_model
from tl_toolkit.recipes.finetune import Run

FILES = {
    "state-dict": "weights.pth",
    "full-model": "network.pth",
    "safetensors": "other.safetensors",
    "torch-export": "program.pt2",
    "onnx": "model.onnx",
    "onnx inside": "inside.onnx",
}


@pytest.fixture(scope="module")
def files(judged_run: Run, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same model in every format."""
    folder = tmp_path_factory.mktemp("exported")
    model = tl.load(judged_run.path, device="cpu", precision="fp32")
    for name, file in FILES.items():
        options = ExportOptions(with_preprocessing="inside" in name)
        export_model(model, name.partition(" ")[0], folder / file, noise(), options)
    return {name: folder / file for name, file in FILES.items()}


def predicted(model: Path, images: Path, *flags: str) -> list[dict[str, object]]:
    precision = () if model.suffix == ".onnx" else ("--precision", "fp32")
    done = run_tl("predict", images, "-m", model, "-f", "json", *precision, *flags)
    assert (done.exit_code, done.stderr.splitlines()[0].split()[0]) == (0, "model")
    found: list[dict[str, object]] = json.loads(done.stdout)
    return found


def nearly(value: object, tolerance: float = 1e-5) -> object:
    """The same value, whose numbers are compared with a tolerance.

    That of the novelty is wider: torch computes it in float32, where few digits of a small distance are left.
    """
    if isinstance(value, dict):
        return {
            key: nearly(each, max(tolerance, 1e-2) if key == "novelty" else tolerance) for key, each in value.items()
        }
    if isinstance(value, list):
        return [nearly(each, tolerance) for each in value]
    return pytest.approx(value, abs=tolerance) if isinstance(value, float) else value


@pytest.fixture(
    scope="module", params=[(), ("--top-k", "2", "--abstain-below", "0.9"), ("--no-calibration",)], ids=" ".join
)
def of_run(
    request: pytest.FixtureRequest, judged_run: Run, tiny_data: Path
) -> tuple[tuple[str, ...], list[dict[str, object]]]:
    """Flags, and what the run predicts with them."""
    return request.param, predicted(judged_run.path, tiny_data / "test", *request.param)


@pytest.mark.parametrize("name", FILES)
def test_predict_of_every_format_gives_the_json_of_the_run(
    name: str, of_run: tuple[tuple[str, ...], list[dict[str, object]]], files: dict[str, Path], tiny_data: Path
):
    flags, expected = of_run
    if name == "state-dict":  # Its note leaves the statistics of images out.
        expected = [{key: each[key] for key in each if key not in ("novelty", "unknown")} for each in expected]
    tolerance = 0.05 if name == "onnx inside" else 1e-5  # Its pixels are resized by other kernels.
    assert predicted(files[name], tiny_data / "test", *flags) == nearly(expected, tolerance)


def test_predict_of_onnx_writes_the_table_and_the_csv_of_the_run(
    files: dict[str, Path], judged_run: Run, tiny_data: Path
):
    for form in ("table", "csv"):
        of_onnx = run_tl("predict", tiny_data / "test", "-m", files["onnx"], "-f", form)
        of_run = run_tl("predict", tiny_data / "test", "-m", judged_run.path, "-f", form, "--precision", "fp32")
        rows, expected = (list(csv.reader(done.stdout.splitlines())) for done in (of_onnx, of_run))
        assert of_onnx.exit_code == 0
        assert len(rows) == len(expected)
        if form == "table":
            assert rows[0] == expected[0]
        else:
            assert [row[:2] for row in rows] == [row[:2] for row in expected]


def test_predict_of_onnx_refuses_pictures_that_need_the_network(tmp_path: Path, tiny_data: Path):
    path = write_onnx(tmp_path / "a.onnx", linear(2), metadata_of("a", "b"))
    image = min((tiny_data / "test" / "1").iterdir())
    explained = run_tl("predict", image, "-m", path, "--explain", tmp_path / "a.png")
    assert explained.exit_code == 2
    assert " ".join(explained.stderr.split()).endswith("does not give. Give the run that it was exported from.")
    drawn = run_tl("predict", "-m", path, "--grid", tmp_path / "a.png")
    assert drawn.exit_code == 2
    assert "does not say which images it has not seen: say which IMAGES" in " ".join(drawn.stderr.split())
    assert run_tl("predict", image, "-m", path, "--grid", tmp_path / "a.png").exit_code == 0
    assert (tmp_path / "a.png").exists()


def test_commands_that_need_the_network_refuse_onnx(tmp_path: Path, tiny_data: Path):
    path = write_onnx(tmp_path / "a.onnx", linear(2), metadata_of("a", "b"))
    for command in (["evaluate", "-m", path, "--data", tiny_data], ["export", path, "--to", "state-dict"]):
        done = run_tl(*command)
        assert done.exit_code == 2
        assert "is an ONNX file, which only predicts" in " ".join(done.stderr.split())
    trained = run_tl(
        "finetune", "--data", tiny_data, "--arch", "resnet18", "--weights", path, "--out", tmp_path / "run"
    )
    assert "an ONNX file, which only predicts and holds no weights" in " ".join(trained.stderr.split())


def test_predict_of_weights_of_the_other_library_gives_what_the_run_gives(
    tiny_run: Run, tiny_data: Path, tmp_path: Path
):
    tl.export(tiny_run.path, "state-dict", layout="timm", out=tmp_path / "timm.pth", callback=lambda _: None)
    found, expected = predicted(tmp_path / "timm.pth", tiny_data / "test"), predicted(tiny_run.path, tiny_data / "test")
    assert [each["top_k"] for each in found] == [nearly(each["top_k"]) for each in expected]
