"""The addresses of a server, and what they answer."""

import asyncio
import base64
import contextlib
import hashlib
import io
import logging
import time
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, Response
from PIL import Image
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from tl_toolkit.errors import ImageError, RefusedRequestError, ToolkitError, UsageError
from tl_toolkit.inference.prediction import FailedPrediction
from tl_toolkit.inference.predictor import DEFAULT_TOP_K, Predictor
from tl_toolkit.serving import schema
from tl_toolkit.serving.answers import Json
from tl_toolkit.serving.guard import Guard
from tl_toolkit.serving.limits import Limits, Room
from tl_toolkit.serving.page.render import Page, render_docs, render_page
from tl_toolkit.serving.uploads import Upload, read_uploads
from tl_toolkit.serving.worker import ModelWorker, Options
from tl_toolkit.text import printable
from tl_toolkit.version import __version__

if TYPE_CHECKING:
    from tl_toolkit.inference.heat_maps import HeatMap

Result = TypeVar("Result")
JPEG_QUALITY = 90
RETRY_SECONDS = "1"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ServedModel:
    """A model, and what a server says of it.

    Attributes:
        model: The model.
        name: Of its run or file, without the folders that it is in.
        file: Its file.
    """

    model: Predictor
    name: str
    file: Path


def make_app(served: ServedModel, limits: Limits | None = None, local: bool = True) -> FastAPI:
    """Return the application of a model, for any ASGI server.

    Args:
        served: The model.
        limits: What it accepts; by default `Limits()`.
        local: Whether only this machine can connect, so that a request must name this machine as its host.
    """
    limits = limits or Limits()
    service = _Service(served, limits)
    app = FastAPI(
        title=f"tl serve: {printable(served.name)}",
        version=__version__,
        summary="Names the classes of images.",
        description=schema.DESCRIPTION,
        docs_url=None,  # FastAPI's pages load their scripts from another host.
        redoc_url=None,
        lifespan=service.lifespan,
    )
    app.add_exception_handler(ToolkitError, _answer_error)
    app.add_exception_handler(HTTPException, _answer_error)
    app.add_exception_handler(RequestValidationError, _answer_error)
    app.add_exception_handler(ClientDisconnect, _answer_error)
    app.add_middleware(Guard, local=local)
    _add_predictions(app, service)
    _add_descriptions(app, service)
    _add_pages(app, service)
    return app


class _Service:
    """What the addresses of a server share."""

    def __init__(self, served: ServedModel, limits: Limits) -> None:
        self.served = served
        self.limits = limits
        self.room = Room(limits)
        self.worker = ModelWorker(served.model, limits)
        self.started = time.monotonic()

    @contextlib.asynccontextmanager
    async def lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        """Compute within the block."""
        self.worker.start()
        try:
            yield
        finally:
            await asyncio.to_thread(self.worker.close)

    async def predict(self, request: Request, options: Options) -> list[dict[str, Any]]:
        """Read images and return their predictions, in their order."""
        with self.room.request() as share:
            self.worker.check(options)
            uploads = await read_uploads(request, share, self.limits)
            results = await self._answer(request, self.worker.predict(uploads, options))
        return [result.to_dict() for result in results]

    async def explain(self, request: Request, class_name: str | None) -> "tuple[Upload, HeatMap]":
        """Read an image and return its heat map.

        Raises:
            RefusedRequestError: There are several images.
        """
        with self.room.request() as share:
            uploads = await read_uploads(request, share, self.limits)
            if len(uploads) > 1:
                raise RefusedRequestError(400, f"A heat map is of one image, and the request has {len(uploads)}.")
            return uploads[0], await self._answer(request, self.worker.explain(uploads[0], class_name))

    async def _answer(self, request: Request, work: Coroutine[Any, Any, Result]) -> Result:
        """Wait for an answer as long as the client does.

        Raises:
            RefusedRequestError: It takes too long.
            ClientDisconnect: The client has gone.
        """
        answer, gone = asyncio.ensure_future(work), asyncio.ensure_future(_until_gone(request))
        try:
            await asyncio.wait((answer, gone), timeout=self.limits.answer_seconds, return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                return answer.result()
            if gone.done():
                raise ClientDisconnect
            raise RefusedRequestError(503, f"The model did not answer within {self.limits.answer_seconds:g} s.")
        finally:
            answer.cancel()
            gone.cancel()


async def _until_gone(request: Request) -> None:
    """Wait until the client disconnects; the body has been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _add_predictions(app: FastAPI, service: _Service) -> None:
    """Add what computes."""

    @app.post("/predict", **schema.PREDICT)
    async def predict(
        request: Request,
        top_k: Annotated[int, Query(ge=1, description="Number of classes to name for each image.")] = DEFAULT_TOP_K,
        threshold: Annotated[
            float | None, Query(ge=0, le=1, description="Of several labels an image, name those from this probability.")
        ] = None,
        abstain_below: Annotated[
            float | None, Query(ge=0, le=1, description="Abstain where the likeliest class has a lower probability.")
        ] = None,
        calibration: Annotated[
            bool, Query(description="False gives the network's own probabilities, before calibration.")
        ] = True,
    ) -> Response:
        results = await service.predict(request, Options(top_k, threshold, abstain_below, calibration))
        return Json(results, 422 if all("error" in result for result in results) else 200)

    @app.post("/explain", **schema.EXPLAIN)
    async def explain(
        request: Request,
        class_name: Annotated[str | None, Query(description="The class; by default the likeliest one.")] = None,
    ) -> Response:
        try:
            upload, found = await service.explain(request, class_name)
        except ImageError as error:
            return Json(FailedPrediction(error.name, error.reason).to_dict(), 422)
        return Json(_explained(upload.name, service.served.model, found))


def _add_descriptions(app: FastAPI, service: _Service) -> None:
    """Add what tells of the server and its model."""
    served = service.served
    description = schema.describe(
        served.name, _sha256(served.file), served.model, service.worker.explains, service.limits
    )

    @app.head("/health", include_in_schema=False)
    @app.get("/health", **schema.HEALTH)
    async def health() -> Response:
        alive = service.worker.is_alive()
        return Json(
            {
                "status": "ok" if alive else "the model's thread has ended",
                "seconds": round(time.monotonic() - service.started, 1),
                "images": service.worker.images_done,
                "requests": service.room.requests,
                "waiting": service.worker.waiting,
            },
            200 if alive else 503,
        )

    @app.get("/metadata", **schema.METADATA)
    async def metadata() -> Response:
        return Json(description)


def _add_pages(app: FastAPI, service: _Service) -> None:
    """Add what a browser shows."""
    served = service.served
    page = render_page(served.name, served.model.metadata, service.worker.explains, service.limits)

    def answer(drawn: Page) -> Response:
        return HTMLResponse(drawn.html, headers={"Content-Security-Policy": drawn.policy})

    @app.head("/", include_in_schema=False)
    @app.get("/", include_in_schema=False)
    async def show_page() -> Response:
        return answer(page)

    @app.get("/docs", include_in_schema=False)
    async def show_docs() -> Response:
        return answer(render_docs(app.openapi()))


def _explained(name: str, model: Predictor, found: "HeatMap") -> dict[str, Any]:
    """Return the answer of /explain."""
    height, width = found.values.shape
    pixels = found.pixels[:, :, 0] if found.pixels.shape[2] == 1 else found.pixels
    return {
        "path": name,
        "class_name": model.class_names[found.class_index],
        "method": found.method,
        "visible": round(found.visible, 4),
        "width": width,
        "height": height,
        "input": _data_uri(Image.fromarray(pixels)),
        "overlay": _data_uri(found.overlay()),
    }


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _data_uri(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


async def _answer_error(_: Request, error: Exception) -> Response:
    """Say what is wrong with a request, always in the same shape."""
    headers = {}
    if isinstance(error, RefusedRequestError):
        status, message = error.status, str(error)
    elif isinstance(error, UsageError):
        status, message = 400, str(error)
    elif isinstance(error, RequestValidationError):
        status, message = 400, "; ".join(f"{each['loc'][-1]}: {each['msg']}" for each in error.errors())
    elif isinstance(error, HTTPException):
        status, message = error.status_code, str(error.detail)
        headers = dict(error.headers or {})
    elif isinstance(error, ClientDisconnect):
        status, message = 400, "The client has gone."  # Nobody reads it.
    else:
        logger.warning("A request failed: %s", error)
        status, message = 500, str(error)
    if status == 503:
        headers["Retry-After"] = RETRY_SECONDS
    return Json({"error": message}, status, headers)
