import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image

from tests.corpus import Kind
from tests.helpers.images import scene
from tl_toolkit.data.images import ImageInfo, extent, fingerprint_image, inspect_image, open_image
from tl_toolkit.data.quality.duplicates import digest_of_file
from tl_toolkit.data.transforms import EvalTransform
from tl_toolkit.errors import ImageError
from tl_toolkit.input_spec import InputSpec

RED = (255, 0, 0)


def pixel(source: object, channels: int = 3) -> tuple[int, ...] | int:
    return open_image(source, channels).getpixel((0, 0))


def test_open_image_with_each_exif_orientation_turns_it_upright(tmp_path: Path):
    upright = Image.new("RGB", (3, 2))
    upright.putpixel((0, 0), RED)
    back = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Image.Transpose that undoes the orientation
    for orientation, transpose in back.items():
        stored = upright if transpose is None else upright.transpose(Image.Transpose(transpose))
        exif = Image.Exif()
        exif[0x0112] = orientation
        path = tmp_path / f"{orientation}.png"
        stored.save(path, exif=exif)
        opened = open_image(path)
        assert opened.size == (3, 2), orientation
        assert opened.getpixel((0, 0)) == RED, orientation


def test_open_image_composites_transparency_on_white():
    assert pixel(Image.new("RGBA", (1, 1), (255, 0, 0, 0))) == (255, 255, 255)
    assert pixel(Image.new("RGBA", (1, 1), (255, 0, 0, 255))) == RED
    assert pixel(Image.new("LA", (1, 1), (0, 0)), channels=1) == 255


def test_open_image_with_transparent_palette_composites_on_white(tmp_path: Path):
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "palette.png", transparency=0)
    opened = open_image(tmp_path / "palette.png")
    assert opened.getpixel((0, 0)) == (255, 255, 255)
    assert opened.getpixel((1, 0)) == (0, 255, 0)


def test_open_image_of_sixteen_bits_scales_them(tmp_path: Path):
    values = np.array([[0, 257 * 100, 65535]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "16.png")
    assert [open_image(tmp_path / "16.png", 1).getpixel((x, 0)) for x in range(3)] == [0, 100, 255]
    assert np.asarray(open_image(values, 1)).tolist() == [[0, 100, 255]]


def test_open_image_of_one_bit_and_cmyk_becomes_rgb(tmp_path: Path):
    Image.new("1", (1, 1), 1).save(tmp_path / "1.png")
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "cmyk.jpg", quality=100)
    assert pixel(tmp_path / "1.png") == (255, 255, 255)
    red, green, blue = pixel(tmp_path / "cmyk.jpg")
    assert red > 200
    assert green < 60
    assert blue < 60


def test_open_image_of_animation_takes_the_first_frame(tmp_path: Path):
    first, second = Image.new("RGB", (1, 1), RED), Image.new("RGB", (1, 1), (0, 0, 255))
    first.save(tmp_path / "two.gif", save_all=True, append_images=[second])
    assert pixel(tmp_path / "two.gif") == RED


@pytest.mark.parametrize(
    "source",
    [
        np.full((2, 2, 3), 255, np.uint8),
        np.ones((2, 2), np.float32),
        np.ones((2, 2), bool),
        torch.ones(3, 2, 2),
        torch.full((1, 2, 2), 255, dtype=torch.uint8),
    ],
)
def test_open_image_of_arrays_and_tensors_gives_white(source: object):
    opened = open_image(source)
    assert opened.size == (2, 2)
    assert opened.getpixel((1, 1)) == (255, 255, 255)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (np.zeros((2, 2, 2), np.uint8), r"an image of shape \(2, 2, 2\) has no 1, 3 or 4 channels"),
        (np.full((2, 2), 2.5), "floating-point pixels must lie in 0 to 1, not 2.5 to 2.5: divide them by 255"),
        (
            np.full((2, 2), -1.5),
            "floating-point pixels must lie in 0 to 1, not -1.5 to -1.5: do not normalize them, tl",
        ),
        (np.full((2, 2), np.nan), "some pixels are NaN or infinite"),
        (np.zeros((3, 8, 8), np.uint8), "its channels come first, those of an array last: np.moveaxis"),
        (torch.zeros(8, 8, 3), "its channels come last, those of a tensor first: tensor.movedim"),
        (np.zeros((2, 8, 8, 3), np.uint8), r"shape \(2, 8, 8, 3\) is that of several images: give them as a list"),
        (np.zeros((2, 2), np.int64), "pixels of type int64 have no defined range"),
        (Image.new("F", (2, 2)), "pixels of mode F have no defined range"),
    ],
)
def test_open_image_of_undefined_pixels_says_why(source: object, reason: str):
    with pytest.raises(ImageError, match=reason):
        open_image(source, name="image 3")


def test_open_image_of_bad_files_gives_each_reason(tmp_path: Path):
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("no image")
    (tmp_path / "folder.jpg").mkdir()
    Image.effect_noise((64, 64), 50).save(tmp_path / "whole.jpg")
    (tmp_path / "short.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:-700])
    reasons = {
        "empty.jpg": "the file is empty",
        "text.jpg": "not an image that Pillow can read",
        "folder.jpg": "Is a directory",
        "missing.jpg": "No such file or directory",
        "short.jpg": "image file is truncated",
    }
    for name, reason in reasons.items():
        with pytest.raises(ImageError) as error:
            open_image(tmp_path / name)
        assert error.value.reason.startswith(reason)
        assert error.value.name == str(tmp_path / name)


def test_inspect_image_tells_stored_size_and_mode(tmp_path: Path):
    Image.new("L", (5, 3)).save(tmp_path / "grey.png")
    facts = inspect_image(tmp_path / "grey.png")
    assert (facts.width, facts.height, facts.mode) == (5, 3, "L")


SPEC = InputSpec(height=32, width=32)


def test_open_image_at_least_so_large_decodes_a_jpeg_at_reduced_scale(tmp_path: Path):
    path = tmp_path / "large.jpg"
    Image.new("RGB", (1001, 803)).save(path)
    assert open_image(path).size == (1001, 803)
    assert open_image(path, min_size=500).size == (1001, 803)
    assert open_image(path, min_size=300).size == (501, 402)
    reduced = open_image(path, min_size=100)
    assert reduced.size == (126, 101)
    assert extent(reduced) == (1001 / 8, 803 / 8)
    assert inspect_image(path, min_size=100) == ImageInfo(1001, 803, "RGB")


def test_open_image_at_reduced_scale_turns_the_extent_with_the_image(tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "turned.jpg"
    Image.new("RGB", (1001, 803)).save(path, exif=exif)
    assert open_image(path, min_size=100).size == (101, 126)
    assert extent(open_image(path, min_size=100)) == (803 / 8, 1001 / 8)


def difference(path: Path) -> torch.Tensor:
    """Between an image that was decoded in full and one at the scale that is enough, as a model sees them."""
    transform = EvalTransform(SPEC)
    full, reduced = (transform(open_image(path, min_size=size)).float() for size in (0, SPEC.min_decode_size))
    return (full - reduced).abs()


def test_photographs_decoded_at_reduced_scale_differ_little(real_data: Path, tmp_path: Path):
    with tarfile.open(real_data / "caltech101.tar") as archive:
        members = [member for member in archive.getmembers() if member.name.endswith(".jpg")][::40]
        archive.extractall(tmp_path, members, filter="data")
    facts = {path: inspect_image(path) for path in tmp_path.rglob("*.jpg")}
    paths = [path for path, image in facts.items() if min(image.width, image.height) >= 2 * SPEC.min_decode_size]
    assert len(paths) > 40
    differences = [float(difference(path).mean()) for path in paths]  # of 255
    assert sum(differences) / len(paths) < 0.6
    assert max(differences) < 2.5


def test_identity_of_an_image_is_also_its_palette_and_orientation():
    image = Image.new("P", (4, 4))
    image.putpalette([255, 0, 0])
    other = Image.new("P", (4, 4))
    other.putpalette([0, 0, 255])
    assert image.tobytes() == other.tobytes()
    assert fingerprint_image(image) != fingerprint_image(other)
    turned = image.copy()
    turned.getexif()[ExifTags.Base.Orientation] = 6
    assert fingerprint_image(turned) != fingerprint_image(image) == fingerprint_image(image.copy())


def test_identity_of_pixels_is_their_content():
    array = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    assert fingerprint_image(array) == fingerprint_image(array.copy()) == fingerprint_image(torch.from_numpy(array))
    assert fingerprint_image(array) != fingerprint_image(array + 1)
    assert fingerprint_image(array) != fingerprint_image(array.reshape(1, 4, 3))
    assert fingerprint_image(Image.fromarray(array)) is not None
    assert fingerprint_image("missing.png") is None


def test_open_image_of_bytes_gives_what_the_file_gives(corpus: dict[str, Kind]):
    files = [Path(path) for path in corpus if Path(path).is_file() and Path(path).stat().st_size]
    for path in files:
        found = []
        for source in (path, path.read_bytes()):
            try:
                found.append(open_image(source, name="image", min_size=16).tobytes())
            except ImageError as error:
                found.append(error.reason)
        assert found[0] == found[1], path.name
    assert len(files) > 200


def test_open_image_of_no_bytes_says_so():
    with pytest.raises(ImageError) as error:
        open_image(b"", name="photos.parquet row 3")
    assert str(error.value) == "photos.parquet row 3: the image has no bytes"


def test_fingerprint_of_bytes_is_the_digest_of_the_file(tmp_path: Path):
    scene(0).save(tmp_path / "image.png")
    assert fingerprint_image((tmp_path / "image.png").read_bytes()) == digest_of_file(str(tmp_path / "image.png"))
