"""Images that look the same but are not: resized, compressed again, brightened, a moment later."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

HASHED_SIDE = 8
BITS = HASHED_SIDE**2
DISTANCE = 7
"""The hashes of near duplicates differ in at most this many bits."""

SIDE = 16
"""Pixels a side of the thumbnail."""

ENOUGH = 4 * SIDE
"""Height and width at which it is enough to decode for hash and thumbnail."""

SMALLEST = 32
"""Smaller images are not compared: digits of 8 or 28 pixels look alike by the hundred."""

CORRELATION = 0.95
"""Of the thumbnails of near duplicates, at least. With it all of 400 photographs of Caltech-101, ants and bees are
found again when compressed to JPEG quality 30 or at half their size, 98 % when a fifth brighter, 86 % without 2 % at
each edge. Of the groups of Caltech-101 and CIFAR-10 all but a few show the same picture."""

NOISE = 2.0
"""Standard deviation in levels of 256 that compression leaves on a blank image."""

BLOCK = 1024

Hashes = NDArray[np.uint64]
Pairs = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class PerceptualHash:
    """What an image looks like.

    Attributes:
        hash: A perceptual hash of 64 bits.
        thumbnail: uint8 (SIDE, SIDE, 3).
    """

    hash: int
    thumbnail: NDArray[np.uint8]


def perceptual_hash(image: Image.Image) -> PerceptualHash | None:
    """Return the perceptual hash of an RGB image; None if it is too small.

    The hash is dHash: whether each of 9 x 8 pixels is darker than its right neighbour (Krawetz 2013, "Kind of like
    that", hackerfactor.com).
    """
    if min(image.size) < SMALLEST:
        return None
    brightness = np.asarray(_reduced(image, HASHED_SIDE + 1, HASHED_SIDE).convert("L"), np.float32)
    rising = np.packbits(brightness[:, 1:] > brightness[:, :-1] + NOISE)
    return PerceptualHash(int.from_bytes(rising.tobytes(), "big"), np.asarray(_reduced(image, SIDE, SIDE)))


def _reduced(image: Image.Image, width: int, height: int) -> Image.Image:
    return image.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0)


def near_pairs(hashes: Hashes, thumbnails: NDArray[np.uint8]) -> Iterator[tuple[int, int]]:
    """Find images that look the same.

    The hashes of candidates differ in at most DISTANCE bits. Cut into DISTANCE + 1 pieces, two such hashes have a piece
    in common, so that only images that share a piece are compared. Then the thumbnails decide.

    Args:
        hashes: (N).
        thumbnails: uint8 (N, H, W, 3).

    Yields:
        Two indices, the smaller first; each pair once.
    """
    for pairs in _close_hashes(hashes):
        alike = _look_alike(thumbnails[pairs[:, 0]], thumbnails[pairs[:, 1]])
        yield from ((int(first), int(second)) for first, second in pairs[alike])


def _close_hashes(hashes: Hashes) -> Iterator[Pairs]:
    """Yield pairs (M, 2) of indices whose hashes differ in few bits, block by block."""
    pieces = DISTANCE + 1
    masks = [np.uint64(sum(1 << bit for bit in range(piece, BITS, pieces))) for piece in range(pieces)]
    for number, mask in enumerate(masks):
        values = hashes & mask
        order = np.argsort(values, kind="stable")
        starts = np.flatnonzero(np.diff(values[order], prepend=~values[order[:1]]))
        for bucket in np.split(order, starts[1:]):
            yield from _close_in_bucket(hashes, bucket, masks[:number])


def _close_in_bucket(hashes: Hashes, bucket: Pairs, earlier: list[np.uint64]) -> Iterator[Pairs]:
    """Yield the pairs of a bucket, which shares a piece, except for pairs that share an earlier piece too."""
    blocks = [bucket[start : start + BLOCK] for start in range(0, len(bucket), BLOCK)]
    for rows, columns in itertools.combinations_with_replacement(blocks, 2):
        different = hashes[rows, None] ^ hashes[columns]
        close = np.bitwise_count(different) <= DISTANCE
        first, second = np.nonzero(np.triu(close, 1) if rows is columns else close)
        new = np.ones(len(first), bool)
        for mask in earlier:
            new &= (different[first, second] & mask) != 0
        for start in range(0, int(new.sum()), BLOCK):
            chosen = np.flatnonzero(new)[start : start + BLOCK]
            yield np.stack([rows[first[chosen]], columns[second[chosen]]], axis=1)


def _look_alike(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return whether thumbnails (M, H, W, 3) are the same up to contrast and the mean of each colour.

    Two images of the sky are alike by what is in front of it, not by being blue. In an image with hardly any contrast,
    the noise of compression does not count.
    """
    floats = [pixels.astype(np.float32) for pixels in (first, second)]
    one, other = (pixels - pixels.mean(axis=(1, 2), keepdims=True) for pixels in floats)
    floor = np.float32(NOISE**2)
    shared = (one * other).mean(axis=(1, 2, 3)) + floor
    spread = np.sqrt(((one**2).mean(axis=(1, 2, 3)) + floor) * ((other**2).mean(axis=(1, 2, 3)) + floor))
    alike: NDArray[np.bool_] = shared >= CORRELATION * spread
    return alike
