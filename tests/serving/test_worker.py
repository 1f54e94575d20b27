import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.helpers.serving import PATIENCE, Stubborn, serve_model, until
from tl_toolkit.recipes.finetune import Run


def test_images_that_wait_are_one_batch_and_get_their_own_answers(judged_run: Run, digits: list[Path]):
    model = Stubborn(judged_run.model)
    with serve_model(model, judged_run.path / "model.safetensors") as site, ThreadPoolExecutor(8) as pool:  # type: ignore[arg-type]

        def ask(place: int) -> httpx.Response:
            path = digits[place % len(digits)]
            options = {"top_k": 1 + place % 2}
            return httpx.post(
                f"{site.url}/predict", params=options, files={"a": (str(place), path.read_bytes())}, timeout=PATIENCE
            )

        first = pool.submit(ask, 0)
        assert model.begun.wait(PATIENCE)
        others = [pool.submit(ask, place) for place in range(1, 8)]
        until(lambda: site.client.get("/health").json()["waiting"] == 7)
        model.free.set()
        answers = [future.result().json() for future in [first, *others]]
    assert [answer[0]["path"] for answer in answers] == [str(place) for place in range(8)]
    expected = judged_run.model.predict([digits[place % len(digits)] for place in range(8)])
    assert [answer[0]["class_name"] for answer in answers] == [each.class_name for each in expected]
    assert [len(answer[0]["top_k"]) for answer in answers] == [1, 2] * 4
    assert model.batches[0] == ["0"]
    assert sorted(map(len, model.batches[1:])) == [3, 4]  # One for each set of options.


def test_model_that_fails_is_told_and_the_server_goes_on(
    judged_run: Run, digits: list[Path], caplog: pytest.LogCaptureFixture
):
    model = Stubborn(judged_run.model, waits=False)
    with serve_model(model, judged_run.path / "model.safetensors") as site:  # type: ignore[arg-type]
        model.problem = RuntimeError("out of memory")
        with caplog.at_level(logging.WARNING):
            answer = site.client.post("/predict", content=digits[0].read_bytes())
        assert (answer.status_code, answer.json()) == (500, {"error": "The server failed; its terminal says why."})
        assert caplog.messages == ["A request failed: RuntimeError: out of memory"]
        model.problem = None
        assert site.client.post("/predict", content=digits[0].read_bytes()).status_code == 200


def test_heat_maps_and_predictions_come_beside_each_other(judged_run: Run, digits: list[Path]):
    with serve_model(judged_run.model, judged_run.path / "model.safetensors") as site, ThreadPoolExecutor(8) as pool:

        def ask(place: int) -> httpx.Response:
            address = "predict" if place % 2 else "explain"
            return httpx.post(f"{site.url}/{address}", content=digits[0].read_bytes(), timeout=PATIENCE)

        answers = [answer.json() for answer in pool.map(ask, range(24))]
    assert all(answer == answers[0] for answer in answers[::2])
    [expected] = answers[1]
    assert all(answer[0]["probability"] == pytest.approx(expected["probability"]) for answer in answers[1::2])
