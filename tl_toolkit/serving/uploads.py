"""The images of a request."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from python_multipart.exceptions import FormParserError
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request

from tl_toolkit.errors import RefusedRequestError
from tl_toolkit.serving.limits import Limits, Share

HOW = "Send an image as the body, or as files of a form: curl -F image=@photo.jpg URL"
MULTIPART = "multipart/form-data"
UNNAMED = "image"


@dataclass(frozen=True, slots=True)
class Upload:
    """An image as it arrived: the name of its file, and the file's bytes."""

    name: str
    content: bytes


async def read_uploads(request: Request, share: Share, limits: Limits) -> list[Upload]:
    """Read the images of a request: its body, or the files of a form.

    Args:
        request: The request.
        share: Counts what arrives.
        limits: Bound the number of images and the time.

    Raises:
        RefusedRequestError: The request is too large or too slow, or has no image.
        starlette.exceptions.HTTPException: It is no valid form, or has too many files.
        starlette.requests.ClientDisconnect: The client has gone.
    """
    told = request.headers.get("content-length", "")
    if told.isdecimal():
        share.check(int(told))  # Before the client has sent it all.
    counted = Request(request.scope, _counting(request.receive, share))
    try:
        async with asyncio.timeout(limits.upload_seconds):
            if not request.headers.get("content-type", "").lower().startswith(MULTIPART):
                content = await counted.body()
                uploads = [Upload(UNNAMED, content)] if content else []
            else:
                async with counted.form(max_files=limits.images, max_fields=1) as form:
                    uploads = await _files(form)
    except TimeoutError as error:
        raise RefusedRequestError(
            408, f"The request did not arrive within {limits.upload_seconds:g} s. Send a smaller image."
        ) from error
    except FormParserError as error:  # Of which earlier versions of Starlette know nothing.
        raise RefusedRequestError(400, f"The form is damaged: {error}. {HOW}") from error
    if not uploads:
        raise RefusedRequestError(400, f"The request has no image. {HOW}")
    return uploads


def _counting(receive: Callable[[], Awaitable[Any]], share: Share) -> Callable[[], Awaitable[Any]]:
    async def receive_counted() -> Any:
        message = await receive()
        share.add(len(message.get("body", b"")))
        return message

    return receive_counted


async def _files(form: FormData) -> list[Upload]:
    """Return the files of a form.

    Raises:
        RefusedRequestError: It has something else: options would not be heeded there.
    """
    uploads = []
    for field, value in form.multi_items():
        if not isinstance(value, UploadFile):
            raise RefusedRequestError(
                400, f"The form's field {field!r} is no file. Options are part of the address: /predict?top_k=3. {HOW}"
            )
        uploads.append(Upload(value.filename or field, await value.read()))
    return uploads
