"""Which images a model learned from, and which it was chosen and judged by, as short digests of their contents."""

import base64
import binascii
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from tl_toolkit.errors import ModelFileError
from tl_toolkit.json_values import mapping

FINGERPRINT_BYTES = 5
"""Of each image: 100,000 images take 0.67 MB of a model file's header. Where a million are noted, one new image in a
million is taken for one of them by chance."""


@dataclass(frozen=True)
class SplitNote:
    """The images of a run by content. They are unpacked only when they are asked for.

    Attributes:
        packed: Fingerprints of the images of a split, sorted, joined and in base64, by its name.
        learned: The splits that the weights were trained on. After a refit val is one of them.
    """

    packed: Mapping[str, str]
    learned: tuple[str, ...]

    @classmethod
    def of(cls, fingerprints: Mapping[str, Iterable[bytes]], learned: tuple[str, ...]) -> Self:
        """Packs the fingerprints of each split; images with the same content have one."""
        joined = {split: b"".join(sorted(set(prints))) for split, prints in fingerprints.items()}
        return cls({split: base64.b64encode(prints).decode("ascii") for split, prints in joined.items()}, learned)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"learned": list(self.learned), "splits": dict(self.packed)}

    @classmethod
    def from_dict(cls, values: Any) -> Self:
        """Reads what `to_dict` wrote.

        Raises:
            ValueError: It is none.
        """
        note = mapping(values, "split_note")
        packed, learned = mapping(note.get("splits"), "splits of split_note"), note.get("learned")
        if not all(isinstance(prints, str) for prints in packed.values()):
            raise ValueError("splits of split_note must be text")
        if not isinstance(learned, list) or not all(isinstance(split, str) and split in packed for split in learned):
            raise ValueError("learned of split_note must name its splits")
        return cls(packed, tuple(learned))

    def fingerprints(self, split: str) -> frozenset[bytes]:
        """Those of a split; none where the run had no such split.

        Raises:
            ModelFileError: The note is damaged.
        """
        try:
            joined = base64.b64decode(self.packed.get(split, ""), validate=True)
        except (binascii.Error, ValueError) as error:
            raise ModelFileError(f"The model file's note of its {split} images is damaged: {error}.") from error
        starts = range(0, len(joined), FINGERPRINT_BYTES)
        return frozenset(joined[start : start + FINGERPRINT_BYTES] for start in starts)

    def seen(self) -> frozenset[bytes]:
        """Those of the images that the model learned from.

        Raises:
            ModelFileError: The note is damaged.
        """
        return frozenset().union(*map(self.fingerprints, self.learned))
