"""Images of datasets of the library `datasets`, whose Arrow files are mapped into memory."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tl_toolkit.data.stored_images import ImageStore


class HubTables(ImageStore):
    """The images of one or several datasets, such as splits.

    Args:
        datasets: Datasets whose only column has the images undecoded: bytes, or structs {bytes, path}.
        places: What messages call each dataset.
        identities: For each dataset, what changes when its content does.
    """

    def __init__(self, datasets: Sequence[Any], places: Sequence[str], identities: Sequence[bytes]) -> None:
        super().__init__(sum(map(len, datasets)))
        self.datasets = datasets
        self._places, self._identities = places, identities
        self._first_row: list[int] = np.cumsum([0, *map(len, datasets)]).tolist()

    def cell(self, row: int) -> tuple[bytes | None, str | None]:
        """Return the bytes of a row's image, and its path; its pages are read from the disk."""
        index, number = self._find(row)
        (cell,) = self.datasets[index][number].values()
        if isinstance(cell, Mapping):
            return cell["bytes"], cell["path"]
        return cell, None

    def place(self, row: int) -> tuple[str, int]:
        """Return the name of the dataset of a row, and the row's number there."""
        index, number = self._find(row)
        return self._places[index], number

    def identity(self, row: int) -> bytes:
        """Return that of the dataset."""
        return self._identities[self._find(row)[0]]

    def _find(self, row: int) -> tuple[int, int]:
        index = bisect_right(self._first_row, row) - 1
        return index, row - self._first_row[index]
