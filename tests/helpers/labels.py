"""Images with several labels: digits, up to three of them side by side."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tl_toolkit.data.sources.base import open_source

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
CORNERS = ((0, 0), (0, 16), (16, 0))


def tiled_digits(count: int, seed: int = 0, split: str = "train") -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Return images (count, 32, 32) of one to three digits, and which digits each has (count, 10)."""
    random = np.random.default_rng(seed)
    digits = open_source("digits").split(split)
    images, rows = np.zeros((count, 32, 32), np.uint8), np.zeros((count, 10), np.float32)
    for image, row in zip(images, rows, strict=True):
        chosen = random.choice(len(digits), int(random.integers(1, 4)), replace=False).tolist()
        for index, (top, left) in zip(chosen, CORNERS, strict=False):
            tile = digits.open(index, 1).resize((16, 16))
            image[top : top + 16, left : left + 16] = np.asarray(tile)
            row[digits.targets[index]] = 1
    return images, rows


def write_table(folder: Path, images: NDArray[np.uint8], rows: NDArray[np.float32], split: str = "") -> Path:
    """Write the images as files with a table of their labels; an earlier table gets more lines."""
    folder.mkdir(parents=True, exist_ok=True)
    table = folder / "labels.csv"
    lines = table.read_text().splitlines() if table.exists() else ["path,label,split" if split else "path,label"]
    for image, row in zip(images, rows, strict=True):
        name = f"{len(lines):04}.png"
        Image.fromarray(image).save(folder / name)
        labels = ";".join(NAMES[index] for index in np.flatnonzero(row))
        lines.append(f"{name},{labels}{f',{split}' if split else ''}")
    table.write_text("\n".join(lines) + "\n")
    return table
