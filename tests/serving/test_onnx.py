import json
import subprocess
import sys
from pathlib import Path

from tests.helpers.onnx_files import linear, metadata_of, write_onnx
from tests.helpers.serving import serve_model
from tl_toolkit.inference.onnx_classifier import OnnxClassifier

WITHOUT_TORCH = """
import asyncio, json, sys, threading, urllib.request
for name in ("torch", "torchvision", "timm"):
    sys.modules[name] = None  # As if it were not installed.
from pathlib import Path
from tl_toolkit.inference.loading import load_predictor
from tl_toolkit.serving.address import listen
from tl_toolkit.serving.app import ServedModel, make_app
from tl_toolkit.serving.limits import Limits
from tl_toolkit.serving.server import Server
file, image = map(Path, sys.argv[1:])
listener = listen("127.0.0.1", 0)
url = f"http://127.0.0.1:{listener.getsockname()[1]}"
ready = threading.Event()
server = Server(make_app(ServedModel(load_predictor(file), "a", file)), Limits(), ready.set)
thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])))
thread.start()
ready.wait()
for address in ("/", "/docs", "/metadata", "/health"):
    urllib.request.urlopen(url + address).read()
print(urllib.request.urlopen(url + "/predict", image.read_bytes()).read().decode())
server.should_exit = True
thread.join()
"""


def test_onnx_file_answers_as_it_predicts(tmp_path: Path, digits: list[Path]):
    for inside in (False, True):
        path = write_onnx(tmp_path / f"{inside}.onnx", linear(3), metadata_of("a", "b", "c"), inside)
        model = OnnxClassifier(path)
        with serve_model(model, path) as site:
            files = [("image", (digit.name, digit.read_bytes())) for digit in digits]
            found = site.client.post("/predict", files=files).json()
            assert not site.client.get("/metadata").json()["explains"]
        assert [each["class_name"] for each in found] == [each.class_name for each in model.predict([*digits])]


def test_images_that_the_file_resizes_itself_are_held_one_at_a_time(tmp_path: Path, digits: list[Path]):
    path = write_onnx(tmp_path / "a.onnx", linear(2), metadata_of("a", "b"), inside=True)
    model = OnnxClassifier(path)
    predict, batches = model.predict_pixels, []
    model.predict_pixels = lambda pixels, *rest: batches.append(len(pixels)) or predict(pixels, *rest)  # type: ignore[method-assign, func-returns-value]
    with serve_model(model, path) as site:
        site.client.post("/predict", files=[("image", ("a", digit.read_bytes())) for digit in digits])
    assert batches == [1] * len(digits)


def test_onnx_file_is_served_where_torch_is_not_installed(tmp_path: Path, digits: list[Path]):
    path = write_onnx(tmp_path / "a.onnx", linear(2), metadata_of("a", "b"))
    command = [sys.executable, "-c", WITHOUT_TORCH, str(path), str(digits[0])]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    [found] = json.loads(done.stdout)
    assert found["class_name"] == OnnxClassifier(path).predict(digits[0]).class_name
