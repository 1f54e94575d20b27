import json
import shutil
import subprocess
from pathlib import Path

import httpx
import pytest
from pydantic import TypeAdapter

from tests.corpus import Kind
from tests.helpers.serving import Site, png, serve_model
from tests.helpers.terminal import run_tl
from tl_toolkit.cli.console import UNDECODABLE_IN_JSON
from tl_toolkit.recipes.finetune import Run
from tl_toolkit.serving import schema
from tl_toolkit.serving.limits import Limits

PREDICTIONS = TypeAdapter(list[schema.Prediction])
HOW = "Send an image as the body, or as files of a form: curl -F image=@photo.jpg URL"


def files_of(paths: list[Path]) -> list[tuple[str, tuple[str, bytes]]]:
    """A form with files."""
    return [("image", (str(path), path.read_bytes())) for path in paths]


def console_name(path: Path) -> str:
    """A path as the command writes it in JSON, with bytes that are no text escaped."""
    return str(json.loads(json.dumps(str(path), ensure_ascii=False).encode("utf-8", UNDECODABLE_IN_JSON)))


def test_predict_answers_as_the_command_prints(site: Site, judged_run: Run, digits: list[Path]):
    printed = run_tl("predict", *digits, "--model", judged_run.path, "--format", "json", "--abstain-below", 0.5)
    answer = site.client.post("/predict?abstain_below=0.5", files=files_of(digits))
    assert answer.status_code == 200
    assert answer.json() == json.loads(printed.stdout)
    assert {"abstained", "novelty", "unknown"} <= answer.json()[0].keys()


def test_predict_of_every_kind_of_file_answers_as_the_command_prints(
    site: Site, judged_run: Run, corpus: dict[str, Kind]
):
    paths = [Path(path) for path in corpus if Path(path).is_file()]
    command = run_tl("predict", *paths, "--model", judged_run.path, "--format", "json")
    printed = {each["path"]: each for each in json.loads(command.stdout)}
    for path in paths:
        [found] = site.client.post("/predict", content=path.read_bytes() or b"\0").json()
        expected = printed[console_name(path)]
        if path.stat().st_size:
            assert found.get("error") == expected.get("error"), path
            assert found.get("probability") == pytest.approx(expected.get("probability"), abs=1e-5), path


def test_predict_by_curl_as_the_help_says(site: Site, digits: list[Path]):
    done = subprocess.run(
        ["curl", "-s", "-F", f"image=@{digits[0]}", f"{site.url}/predict"], capture_output=True, check=True
    )
    [found] = json.loads(done.stdout)
    assert found["path"] == digits[0].name


def test_predict_of_a_body_takes_its_options(site: Site, judged_run: Run, digits: list[Path]):
    answer = site.client.post("/predict?top_k=2&calibration=false", content=digits[0].read_bytes())
    [expected] = judged_run.model.without_calibration().predict([digits[0]], top_k=2)
    assert answer.json() == [{**expected.to_dict(), "path": "image"}]
    assert judged_run.model.metadata.temperature != 1
    assert len(answer.json()[0]["top_k"]) == 2


def test_predict_of_several_labels_heeds_the_threshold(judged_run: Run, digits: list[Path]):
    model = judged_run.model.with_metadata(task="multi-label", loss="bce", novelty=None, temperature=1.0)
    with serve_model(model, judged_run.path / "model.safetensors") as site:
        body = digits[0].read_bytes()
        [low], [high] = (site.client.post(f"/predict?threshold={t}", content=body).json() for t in (0, 1))
        assert [len(each["labels"]) for each in (low, high)] == [3, 0]
        PREDICTIONS.validate_python([low, high])
        refused = site.client.post("/predict?abstain_below=0.5", content=body)
        assert (refused.status_code, refused.json()) == (
            400,
            {
                "error": "abstain_below is for models that name one class of an image; this one gives it the labels "
                "whose probability is high enough: see threshold."
            },
        )


def test_answers_fit_the_openapi_description(site: Site, digits: list[Path], tmp_path: Path):
    (tmp_path / "note.txt").write_text("no image")
    found = site.client.post("/predict?abstain_below=0.9", files=files_of([*digits, tmp_path / "note.txt"])).json()
    PREDICTIONS.validate_python(found)
    schema.Explanation(**site.client.post("/explain", content=digits[0].read_bytes()).json())
    schema.Health(**site.client.get("/health").json())
    schema.Failure(**site.client.post("/predict").json())
    described = site.client.get("/openapi.json").json()
    assert list(described["paths"]) == ["/predict", "/explain", "/health", "/metadata"]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("top_k=0", "top_k: Input should be greater than or equal to 1"),
        ("top_k=two", "top_k: Input should be a valid integer, unable to parse string as an integer"),
        ("abstain_below=1.5", "abstain_below: Input should be less than or equal to 1"),
        (
            "threshold=0.5",
            "threshold is for models that give an image several labels; this one, of multi-class data, names the "
            "likeliest classes.",
        ),
    ],
)
def test_predict_with_an_option_that_makes_no_sense_says_so(query: str, message: str, site: Site):
    answer = site.client.post(f"/predict?{query}", content=png(8, 8))
    assert (answer.status_code, answer.json()) == (400, {"error": message})


def test_predict_without_an_image_says_how(site: Site):
    for sent in ({}, {"content": b""}, {"headers": {"Content-Type": "multipart/form-data; boundary=b"}}):
        answer = site.client.post("/predict", **sent)  # type: ignore[arg-type]
        assert (answer.status_code, answer.json()) == (400, {"error": f"The request has no image. {HOW}"})


def test_predict_of_a_form_with_other_fields_says_where_options_go(site: Site):
    answer = site.client.post("/predict", files={"image": png(8, 8)}, data={"top_k": "1"})
    assert answer.status_code == 400
    assert answer.json()["error"] == (
        f"The form's field 'top_k' is no file. Options are part of the address: /predict?top_k=3. {HOW}"
    )


def test_predict_of_a_form_that_is_none_says_so(site: Site):
    for kind in ("multipart/form-data", "multipart/form-data; boundary=b"):
        answer = site.client.post("/predict", content=b"hello", headers={"Content-Type": kind})
        assert answer.status_code == 400, answer.json()


def test_predict_of_what_is_no_image_says_why(site: Site, digits: list[Path]):
    whole = digits[0].read_bytes()
    for body, reason in (
        (b"hello", "not an image that Pillow can read"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "EPS is a program that draws, not an image"),
        (whole[: len(whole) // 2], "truncated"),
    ):
        answer = site.client.post("/predict", content=body)
        assert answer.status_code == 422
        [found] = answer.json()
        assert found.keys() == {"path", "error"}
        assert reason in found["error"]


def test_predict_of_some_bad_images_answers_for_each(site: Site, digits: list[Path], tmp_path: Path):
    (tmp_path / "bad.jpg").write_bytes(b"bad")
    answer = site.client.post("/predict", files=files_of([digits[0], tmp_path / "bad.jpg", digits[1]]))
    assert answer.status_code == 200
    assert ["error" in each for each in answer.json()] == [False, True, False]


def test_predict_of_too_many_pixels_does_not_decode_them(judged_run: Run):
    with serve_model(judged_run.model, judged_run.path / "model.safetensors", Limits(pixels=10_000)) as site:
        assert site.client.post("/predict", content=png(100, 100)).status_code == 200
        answer = site.client.post("/predict", content=png(1_000, 11))
        reason = "1,000 x 11 pixels, which are more than 10,000: save it smaller"
        assert (answer.status_code, answer.json()) == (422, [{"path": "image", "error": reason}])
        explained = site.client.post("/explain", content=png(101, 100))
        assert (explained.status_code, explained.json()["path"]) == (422, "image")


def test_predict_of_too_many_images_says_how_many_are_accepted(site: Site):
    files = [("image", ("a.png", png(8, 8)))] * 33
    answer = site.client.post("/predict", files=files)
    assert (answer.status_code, answer.json()) == (
        400,
        {"error": "Too many files. Maximum number of files is 32."},
    )


def test_explain_draws_the_class_that_is_asked_for(tiny_run: Run, digits: list[Path]):
    body = digits[0].read_bytes()
    with serve_model(tiny_run.model, tiny_run.path / "model.safetensors") as site:
        found = site.client.post("/explain", content=body).json()
        other = site.client.post("/explain?class_name=7", content=body).json()
    assert found["class_name"] == tiny_run.model.predict(digits[0]).class_name == "0"
    assert (found["width"], found["height"]) == (32, 32)
    assert found["method"].startswith("Grad-CAM of ")
    assert other["class_name"] == "7"
    assert other["input"] == found["input"]
    assert len({found["input"], found["overlay"], other["overlay"]}) == 3
    assert other["overlay"].startswith("data:image/jpeg;base64,")


def test_explain_of_an_unknown_class_or_several_images_says_so(site: Site, digits: list[Path]):
    answer = site.client.post("/explain?class_name=9", content=digits[0].read_bytes())
    assert (answer.status_code, answer.json()) == (
        400,
        {"error": "No class is named '9'. Choose from 0, 1, 7."},
    )
    answer = site.client.post("/explain", files=files_of(digits[:2]))
    assert (answer.status_code, answer.json()["error"]) == (400, "A heat map is of one image, and the request has 2.")


def test_health_counts_images(site: Site, digits: list[Path]):
    before = site.client.get("/health").json()
    site.client.post("/predict", files=files_of(digits))
    after = site.client.get("/health").json()
    assert after["images"] - before["images"] == len(digits)
    assert (after["status"], after["requests"], after["waiting"]) == ("ok", 0, 0)
    assert site.client.head("/health").status_code == 200


def test_metadata_describe_the_model_without_folders_of_this_machine(site: Site, judged_run: Run, tiny_data: Path):
    found = site.client.get("/metadata").json()
    assert found["class_names"] == ["0", "1", "7"]
    assert found["input_spec"] == json.loads(json.dumps(judged_run.model.input_spec.to_dict()))
    assert found["explains"]
    assert found["marks_unknown"]
    digest = shutil.which("sha256sum") and subprocess.run(
        ["sha256sum", judged_run.path / "model.safetensors"], capture_output=True, text=True, check=True
    )
    assert not digest or found["sha256"] == digest.stdout.split()[0]
    assert str(tiny_data.parent) not in json.dumps(found)
    assert found["limits"]["upload_bytes"] == 20 * 2**20


def test_metadata_tell_where_weights_come_from_without_folders(judged_run: Run):
    for weights, told in (
        ("/home/someone/old.pth", "old.pth"),
        ("https://example.org/a.pth", "https://example.org/a.pth"),
        ("none", "none"),
    ):
        model = judged_run.model.with_metadata(weights=weights)
        assert schema.describe("a", "", model, True, Limits())["weights"] == told


def test_unknown_address_and_method_are_refused(site: Site):
    assert site.client.get("/nowhere").json() == {"error": "Not Found"}
    assert site.client.get("/predict").status_code == 405


def test_request_for_another_host_is_refused(site: Site):
    for host, status in (("evil.example", 400), ("evil.example:80", 400), ("localhost:1", 200), ("[::1]:1", 200)):
        answer = site.client.get("/metadata", headers={"Host": host})
        assert answer.status_code == status, host
    answer = site.client.get("/metadata", headers={"Host": "evil.example"})
    assert answer.json()["error"] == (
        "This server is for this machine, but the request is for the host 'evil.example'. Call it by 127.0.0.1 or "
        "localhost; a proxy must name it so too."
    )


def test_answers_are_neither_kept_nor_guessed_at_nor_framed(site: Site):
    answer: httpx.Response = site.client.get("/health")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "frame-ancestors 'none'" in site.client.get("/").headers["content-security-policy"]
    assert "server" not in answer.headers
