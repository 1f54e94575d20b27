"""Photographs as phones write them: HEIC, read with pillow-heif, and AVIF, which Pillow reads itself."""

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image, UnidentifiedImageError

from tests.corpus import LOSSY, picture
from tests.helpers.folders import copy_digits
from tl_toolkit.data import images
from tl_toolkit.data.dataset import eval_images
from tl_toolkit.data.images import is_image_file, open_image
from tl_toolkit.data.loaders import eval_loader
from tl_toolkit.data.sources.base import open_source
from tl_toolkit.errors import ImageError
from tl_toolkit.input_spec import InputSpec

HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)


def test_open_image_of_a_heic_file_without_the_package_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)  # Importing it raises an ImportError.
    path = tmp_path / "IMG_1.HEIC"
    path.write_bytes(HEIC)
    with pytest.raises(ImageError, match=r"HEIC, as phones write it: pip install 'tl_toolkit\[heic\]' to read it$"):
        open_image(path)


def test_heic_file_of_any_name_is_an_image_file(tmp_path: Path):
    (tmp_path / "photo").write_bytes(HEIC)
    assert is_image_file(str(tmp_path / "photo"))


def test_open_image_of_an_avif_file_without_avif_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def without_avif(path: object) -> Image.Image:
        raise UnidentifiedImageError

    (tmp_path / "photo.avif").write_bytes(HEIC.replace(b"ftypheic", b"ftypavif"))
    monkeypatch.setattr(images.Image, "open", without_avif)
    with pytest.raises(ImageError, match="AVIF, which this Pillow was built without: pip install --upgrade pillow"):
        open_image(tmp_path / "photo.avif")


def test_other_images_import_no_package_for_heic(tmp_path: Path):
    copy_digits(tmp_path / "photos", ["0", "1"], 2)
    (tmp_path / "photos" / "0" / "notes.txt").write_text("notes")
    picture().save(tmp_path / "photos" / "1" / "a.jpg")
    code = (
        "import sys\nfrom tl_toolkit.data.quality.readability import check_splits\n"
        "from tl_toolkit.data.sources.base import open_source\n"
        "check_splits(open_source(sys.argv[1]).splits, lambda event: None)\nprint('pillow_heif' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "photos"], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_heic_files_are_read_in_threads_and_in_worker_processes(tmp_path: Path):
    pytest.importorskip("pillow_heif")
    from tests.corpus.good import save_heic

    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(4):
            save_heic(picture(), tmp_path / name / f"{number}.HEIC")
    samples = open_source(tmp_path).split("train")
    dataset = eval_images(samples, InputSpec(height=32, width=48, crop_fraction=1.0))
    [(threads, targets)] = eval_loader(dataset, 8, 0)
    [(workers, _)] = eval_loader(dataset, 8, 1)
    assert threads.equal(workers)
    assert targets.tolist() == [0] * 4 + [1] * 4
    red = threads[0, :, 8, 12].tolist()
    assert all(abs(value - wanted) <= LOSSY for value, wanted in zip(red, (255, 0, 0), strict=True))
