"""The thread that computes with the model, many requests' images at a time."""

import asyncio
import functools
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tl_toolkit.data.images import encoded_size
from tl_toolkit.errors import ImageError, RefusedRequestError
from tl_toolkit.inference.onnx_classifier import OnnxClassifier
from tl_toolkit.inference.prediction import FailedPrediction, Prediction
from tl_toolkit.inference.predictor import BATCH, DEFAULT_TOP_K, Predictor
from tl_toolkit.io.reader_threads import readers
from tl_toolkit.serving.limits import Limits
from tl_toolkit.serving.uploads import Upload

if TYPE_CHECKING:
    from tl_toolkit.inference.heat_maps import HeatMap

BATCH_ON_CPU = 8
"""Batches of 32 take a tenth less of a CPU's time for each image, but let everyone wait for the whole of them, and take
more memory (see tests/benchmarks/NOTES.md)."""

MAX_VIEWS = 32
"""Models with other thresholds that are kept for further requests."""

_EMPTY = FailedPrediction("", "")
"""Holds the place of a prediction."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a request asks for; see `tl predict`."""

    top_k: int = DEFAULT_TOP_K
    threshold: float | None = None
    abstain_below: float | None = None
    calibration: bool = True


@dataclass(slots=True)
class _Image:
    """An image to predict."""

    upload: Upload
    options: Options
    future: "asyncio.Future[Prediction | FailedPrediction]"


@dataclass(slots=True)
class _Call:
    """Anything else to compute."""

    function: Callable[[], Any]
    future: "asyncio.Future[Any]"


class ModelWorker:
    """Computes predictions and heat maps in a thread of its own, in the order of the requests.

    The images that wait when it has finished one batch are its next one: one image does not wait for others, and many
    share a forward pass. Its methods are for one event loop.

    Args:
        model: The model.
        limits: Bound the pixels of an image.
    """

    def __init__(self, model: Predictor, limits: Limits) -> None:
        self.model = model
        self.limits = limits
        self.images_done = 0
        self._batch = self._batch_size()
        self._jobs: deque[_Image | _Call] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="model", daemon=True)
        self.view = functools.lru_cache(MAX_VIEWS)(self._view)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """End the thread after what it computes now, if that ends soon; what waits is given up."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self.is_alive():
            self._thread.join(self.limits.shutdown_seconds)

    def is_alive(self) -> bool:
        """Return whether the thread runs."""
        return self._thread.is_alive()

    @property
    def waiting(self) -> int:
        """Number of images and heat maps that wait."""
        return len(self._jobs)

    def check(self, options: Options) -> None:
        """Check what a request asks for.

        Raises:
            UsageError: The model cannot give it.
        """
        self.view(options.threshold, options.calibration).check_abstaining(options.abstain_below)

    async def predict(self, uploads: Sequence[Upload], options: Options) -> list[Prediction | FailedPrediction]:
        """Predict images; those that nobody waits for any more are left out."""
        loop = asyncio.get_running_loop()
        jobs = [_Image(upload, options, loop.create_future()) for upload in uploads]
        self._add(jobs)
        return list(await asyncio.gather(*(job.future for job in jobs)))

    @property
    def explains(self) -> bool:
        """Whether the model can say which parts of an image speak for a class: an ONNX file cannot."""
        return hasattr(self.model, "explain")

    async def explain(self, upload: Upload, class_name: str | None) -> "HeatMap":
        """Compute a heat map.

        Raises:
            ImageError: The image cannot be read.
            UnknownNameError: The model has no such class.
            RefusedRequestError: The model cannot.
        """
        if not self.explains:
            raise RefusedRequestError(
                501, "An ONNX file has no gradients to draw heat maps with. Serve its run instead."
            )

        def compute() -> "HeatMap":
            self._check_size(upload)
            try:
                found: HeatMap = self.model.explain(upload.content, class_name)  # type: ignore[attr-defined]
            except ImageError as error:
                raise ImageError(upload.name, error.reason) from error
            return found

        call = _Call(compute, asyncio.get_running_loop().create_future())
        self._add([call])
        found: HeatMap = await call.future
        return found

    def _batch_size(self) -> int:
        """Return the most images of a batch; one of those that are not resized before, which may be very large."""
        if isinstance(self.model, OnnxClassifier) and self.model.inside:
            return 1
        return BATCH if self.model.batches_ahead else BATCH_ON_CPU  # A GPU decodes ahead.

    def _view(self, threshold: float | None, calibration: bool) -> Predictor:
        """Return the model with a threshold, or without calibration."""
        view = self.model if threshold is None else self.model.with_threshold(threshold)
        return view if calibration else view.without_calibration()

    def _add(self, jobs: Sequence[_Image | _Call]) -> None:
        with self._changed:
            self._jobs.extend(jobs)
            self._changed.notify()

    def _next(self) -> list[_Image] | _Call | None:
        """Wait for work and return it: the images that are next, or something else; None at the end."""
        with self._changed:
            while not self._closed:
                while self._jobs and self._jobs[0].future.done():  # Nobody waits any more.
                    self._jobs.popleft()
                if not self._jobs:
                    self._changed.wait()
                    continue
                first = self._jobs.popleft()
                if isinstance(first, _Call):
                    return first
                batch = [first]
                while self._jobs and len(batch) < self._batch and isinstance(job := self._jobs[0], _Image):
                    self._jobs.popleft()
                    if not job.future.done():
                        batch.append(job)
                return batch
            return None

    def _work(self) -> None:
        while (work := self._next()) is not None:
            results: list[Any]
            try:
                results = [work.function()] if isinstance(work, _Call) else self._predict(work)
            except Exception as error:  # noqa: BLE001  # Raised where the request waits.
                results = [error] * (1 if isinstance(work, _Call) else len(work))
            jobs = [work] if isinstance(work, _Call) else work
            futures = [job.future for job in jobs]
            futures[0].get_loop().call_soon_threadsafe(_settle, futures, results)

    def _predict(self, jobs: Sequence[_Image]) -> list[Prediction | FailedPrediction]:
        """Return a result for each image; those with the same options share a forward pass."""
        alike: dict[Options, list[int]] = defaultdict(list)
        for place, job in enumerate(jobs):
            alike[job.options].append(place)
        results: dict[int, Prediction | FailedPrediction] = {}
        for options, places in alike.items():
            view = self.view(options.threshold, options.calibration)
            found = self._predict_alike(view, [jobs[place].upload for place in places], options)
            results.update(zip(places, found, strict=True))
        self.images_done += len(jobs)
        return [results[place] for place in range(len(jobs))]

    def _predict_alike(
        self, view: Predictor, uploads: Sequence[Upload], options: Options
    ) -> list[Prediction | FailedPrediction]:
        outcomes = readers().start(self._to_pixels, uploads).outcomes()
        found: list[Prediction | FailedPrediction] = [
            FailedPrediction(upload.name, outcome.reason) if isinstance(outcome, ImageError) else _EMPTY
            for upload, outcome in zip(uploads, outcomes, strict=True)
        ]
        read = [place for place, result in enumerate(found) if result is _EMPTY]
        if read:
            pixels, names = [outcomes[place] for place in read], [uploads[place].name for place in read]
            predictions = view.predict_pixels(pixels, names, options.top_k, options.abstain_below)
            for place, prediction in zip(read, predictions, strict=True):
                found[place] = prediction
        return found

    def _to_pixels(self, upload: Upload) -> Any:
        self._check_size(upload)
        return self.model.to_pixels(upload.content)

    def _check_size(self, upload: Upload) -> None:
        """Check an image's size before it is decoded.

        Raises:
            ImageError: It has too many pixels, or its header cannot be read.
        """
        width, height = encoded_size(upload.content, upload.name)
        if width * height > self.limits.pixels:
            most = f"{self.limits.pixels:,}"
            raise ImageError(upload.name, f"{width:,} x {height:,} pixels, which are more than {most}: save it smaller")


def _settle(futures: Sequence["asyncio.Future[Any]"], results: Sequence[Any]) -> None:
    """Give each future its result, in the event loop."""
    for future, result in zip(futures, results, strict=True):
        if future.done():
            continue
        if isinstance(result, BaseException):
            future.set_exception(result)
        else:
            future.set_result(result)
