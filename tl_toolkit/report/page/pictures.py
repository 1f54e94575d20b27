"""The pictures of the page, each held once."""

import base64
from typing import Any

from tl_toolkit.report.content import Confusion, ShownImage
from tl_toolkit.report.page.formats import percent
from tl_toolkit.text import printable


class Pictures:
    """Numbers pictures, so that a cell of the matrix can show one that a gallery holds already."""

    def __init__(self) -> None:
        self._numbers: dict[bytes, int] = {}
        self._drawn: set[int] = set()

    def number(self, picture: bytes) -> int:
        """Return the number of a picture."""
        return self._numbers.setdefault(picture, len(self._numbers))

    def element_id(self, picture: bytes) -> str:
        """Return the id of the image element that holds a picture, for the first one; else nothing."""
        number = self.number(picture)
        if number in self._drawn:
            return ""
        self._drawn.add(number)
        return f"picture-{number}"

    def not_drawn(self) -> dict[int, str]:
        """Return the pictures that no element holds, by number."""
        return {
            number: self.data_uri(picture) for picture, number in self._numbers.items() if number not in self._drawn
        }

    @staticmethod
    def data_uri(picture: bytes) -> str:
        """Return a picture as the address that holds it."""
        kind = "webp" if picture[8:12] == b"WEBP" else "png" if picture[:4] == b"\x89PNG" else "jpeg"
        return f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"


def images_of_cells(confusion: Confusion, pictures: Pictures) -> dict[str, list[dict[str, Any]]]:
    """Return the images of cells of the matrix, "TRUE,PREDICTED", and of the most frequent mistakes, "pairK"."""
    found = {f"{truth},{predicted}": images for (truth, predicted), images in confusion.images.items()}
    found |= {f"pair{k}": images for k, images in enumerate(confusion.pair_images)}
    return {key: [_plain(image, pictures) for image in images] for key, images in found.items() if images}


def _plain(image: ShownImage, pictures: Pictures) -> dict[str, Any]:
    return {
        "name": printable(image.name),
        "truth": printable(image.truth),
        "predicted": printable(image.predicted),
        "note": printable(image.note),
        "probability": percent(image.probability) if image.probability is not None else "",
        "picture": pictures.number(image.picture) if image.picture else None,
        "heat": pictures.number(image.heat_map) if image.heat_map else None,
    }
