"""A source that another package brings, by an entry point."""

import subprocess
import sys
from pathlib import Path

import pytest

import tl_toolkit as tl
from tests.helpers.terminal import run_tl
from tl_toolkit.data.sources.base import open_source
from tl_toolkit.errors import ToolkitError, UsageError

MODULE = '''
import numpy as np

from tl_toolkit.data.image_sets import ImageSet
from tl_toolkit.data.samples import Samples
from tl_toolkit.data.sources.base import Source

class Stripes(ImageSet):
    """Horizontal and vertical stripes in turn."""

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def read(self, index):
        image = np.zeros((8, 8), np.uint8)
        (image if index % 2 else image.T)[:: 2 + index % 3] = 255
        return image

    def name(self, index):
        return f"stripes {index}"

def open_stripes(spec, options):
    count = spec if isinstance(spec, int) else int(spec.removeprefix("stripes:"))
    samples = Samples(Stripes(count), [index % 2 for index in range(count)])
    return Source("stripes", {"train": samples}, ("flat", "upright"))
'''
POINTS = "[tl_toolkit.sources]\nstripes = stripes_package:open_stripes\nunimportable = no_such_module:open_nothing\n"


@pytest.fixture
def stripes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder where the package is installed."""
    place = tmp_path / "packages"
    metadata = place / "stripes_package-1.0.dist-info"
    metadata.mkdir(parents=True)
    (place / "stripes_package.py").write_text(MODULE)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: stripes_package\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(POINTS)
    monkeypatch.syspath_prepend(place)
    monkeypatch.delitem(sys.modules, "stripes_package", raising=False)
    return place


def test_open_source_of_another_package_by_its_prefix_names_its_images(stripes: Path):
    samples = open_source("stripes:6").split("train")
    assert samples.targets == [0, 1, 0, 1, 0, 1]
    assert samples.open(0, 1).size == (8, 8)
    assert samples.subset([4, 2, 0]).subset([1, 2]).names() == ["stripes 2", "stripes 0"]


def test_open_source_of_an_object_that_another_package_accepts_opens_it(stripes: Path):
    assert len(open_source(4).split("train")) == 4


def test_open_source_of_another_package_that_cannot_be_imported_names_it(stripes: Path):
    with pytest.raises(
        ToolkitError, match=r"The source unimportable \(no_such_module:open_nothing\) cannot be imported"
    ):
        open_source("unimportable:data")


def test_open_source_of_a_prefix_that_no_package_has_says_there_is_no_folder(stripes: Path):
    for spec in ("stripe:6", "arrays:6", "stripes"):
        with pytest.raises(UsageError, match=f"There is no folder '{spec}'"):
            open_source(spec)


def test_finetune_and_evaluate_of_another_packages_source_train_and_judge_it(stripes: Path, tmp_path: Path):
    run = tl.finetune(
        data="stripes:24", arch="lenet5", weights="none", tune="full", epochs=1, val_split=0.25, out=tmp_path / "run"
    )
    assert run.summary["class_names"] == ["flat", "upright"]
    assert (run.summary["train_images"], run.summary["val_images"]) == (18, 6)
    assert tl.evaluate(run.model, "stripes:12", "train").scores.images == 12
    shown = run_tl("data", "info", "stripes:24")
    assert (shown.exit_code, "stripes, 2 classes" in shown.stdout) == (0, True), shown.output


def test_early_check_of_another_packages_source_imports_neither_it_nor_torch(stripes: Path):
    code = "from tl_toolkit.data.sources.names import check_name\ncheck_name('stripes:6')\nimport sys\n"
    code += "print(sorted({'torch', 'numpy', 'stripes_package'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": f"{stripes}:{Path.cwd()}"}, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")
