"""Writes datasets/digits from scikit-learn's copy of the UCI handwritten digits.

Run once, by hand, when the folder has to be made again (scikit-learn is no dependency):

    pip install scikit-learn && python datasets/write_digits.py

Every fifth image of each class goes to test, so that the split needs no random number.
"""

from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

FOLDER = Path(__file__).parent / "digits"
GREY_LEVELS = 16  # The source counts the set pixels of 4x4 blocks: 0 to 16.
TEST_EVERY = 5


def main() -> None:
    """Writes one 8x8 grayscale PNG per digit to digits/{train,test}/{0..9}/."""
    digits = load_digits()
    seen = [0] * 10
    for index, (pixels, target) in enumerate(zip(digits.images, digits.target, strict=True)):
        split = "test" if seen[target] % TEST_EVERY == TEST_EVERY - 1 else "train"
        seen[target] += 1
        path = FOLDER / split / str(target) / f"{index:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        grey = np.rint(pixels * (255 / GREY_LEVELS)).astype(np.uint8)
        Image.fromarray(grey).save(path, optimize=True)


if __name__ == "__main__":
    main()
