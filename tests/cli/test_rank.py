"""``tl rank``, with a small network without weights in place of what comes with the toolkit."""

import json
import shlex
from pathlib import Path

import pytest
from PIL import Image

from tests.helpers.terminal import run_tl
from tl_toolkit.models.backbones import resolve_arch
from tl_toolkit.planning import ranking as rank

KEYS = [
    "arch", "image_size", "weights", "origin", "accuracy", "standard_error", "feature_seconds", "seconds_per_image",
    "training_seconds", "training_multiply_adds", "parameter_bytes", "chosen",
]  # fmt: skip


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, photos: Path) -> list[str]:
    """Flags of a comparison of two small networks."""
    monkeypatch.setattr(rank, "CANDIDATES", (resolve_arch("resnet18"),))
    return [
        "rank",
        "--data",
        str(photos),
        "--arch",
        "timm:resnet10t,resnet18",
        "--weights",
        "none",
        "--image-size",
        "32",
    ]


def test_rank_prints_a_table_and_how_to_go_on(small: list[str], photos: Path):
    done = run_tl(*small)
    assert done.exit_code == 0, done.output
    for text in ("resnet10t", "resnet18", "32 px", " ± ", " MiB", "chosen"):
        assert text in done.stdout
    assert done.stdout.count("chosen") == 1
    row = next(line for line in done.stdout.splitlines() if "chosen" in line)
    arch = {"resnet10t": "timm:resnet10t", "resnet18": "torchvision:resnet18"}[row.split()[0]]
    command = f"tl finetune {shlex.quote(str(photos))} --arch {arch} --weights none --image-size 32"
    assert done.stdout.endswith(f"next        {command}\n")


def test_rank_takes_the_images_as_its_argument(small: list[str], photos: Path):
    small.remove("--data")
    assert run_tl(*small).exit_code == 0
    done = run_tl(*small, "--data", "digits")
    assert done.exit_code == 2
    assert done.stderr == f"Error: Images are named twice, '{photos}' and --data 'digits': leave out one.\n"


def test_rank_again_says_that_the_features_are_cached(small: list[str]):
    run_tl(*small)
    assert run_tl(*small).stdout.count("cached") == 2


def test_rank_json_prints_the_networks_best_first_and_nothing_else(small: list[str]):
    networks = json.loads(run_tl(*small, "--json").stdout)
    assert [list(network) for network in networks] == [KEYS, KEYS]
    assert [network["chosen"] for network in networks].count(True) == 1
    assert networks[0]["accuracy"] >= networks[1]["accuracy"]


def test_rank_by_default_compares_what_comes_with_the_toolkit(small: list[str], photos: Path):
    done = run_tl("rank", "--data", photos, "--json")
    assert [(each["arch"], each["weights"]) for each in json.loads(done.stdout)] == [
        ("torchvision:resnet18", "bundled")
    ]


def test_rank_plot_writes_a_picture(small: list[str], tmp_path: Path):
    done = run_tl(*small, "--plot", tmp_path / "front.png")
    assert done.exit_code == 0, done.output
    assert f"plot        {tmp_path / 'front.png'}: accuracy over time\n" in done.stdout
    with Image.open(tmp_path / "front.png") as image:
        assert image.format == "PNG"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--plot", "there.png"], "there.png exists; nothing is ever overwritten"),
        (["--plot", "front.gif"], "A plot ends in .png, .pdf, .svg, but front.gif does not"),
        (["--arch", "resnt18"], "No architecture is named 'resnt18'. Did you mean resnet18"),
        (["--tune", "everything"], "--tune must be auto or linear-probe"),
        (["--image-size", "4"], "Invalid value for '--image-size'"),
        (["--device", "tpu"], "There is no device 'tpu' here"),
        (["--data", "nowhere"], "There is no folder 'nowhere'"),
        (["--weights", "none"], "with --weights none the weights of none are on this machine"),
    ],
)
def test_rank_with_a_mistake_says_so_before_any_work(
    arguments: list[str], message: str, in_folder: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
):
    (in_folder / "there.png").touch()

    def work(*_: object) -> None:
        raise AssertionError("it has begun")

    monkeypatch.setattr(rank, "cross_validate", work)
    done = run_tl("rank", "--data", photos, *arguments)
    assert done.exit_code == 2, done.output
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.output


def test_rank_of_names_with_blanks_between_takes_them(small: list[str]):
    small[small.index("timm:resnet10t,resnet18")] = "timm:resnet10t, resnet18"
    assert run_tl(*small).exit_code == 0
