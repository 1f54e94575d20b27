"""The folder of a repository, loaded in a process that knows only timm."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch

import tl_toolkit as tl
from tests.helpers.exports import classifier, noise
from tl_toolkit.errors import ToolkitError
from tl_toolkit.exports.writing import plain_copy
from tl_toolkit.inference.classifier import ImageClassifier
from tl_toolkit.input_spec import InputSpec
from tl_toolkit.model_file import ModelMetadata
from tl_toolkit.models import timm_twin
from tl_toolkit.models.backbones import default_input_spec, resolve_arch
from tl_toolkit.models.build import rebuild_network
from tl_toolkit.models.classic import CLASSIC
from tl_toolkit.recipes.finetune import Run
from tl_toolkit.runs import hub_folder
from tl_toolkit.runs.hub_folder import HubFolder, without_places, write_hub_folder

NAMES = ("ants", "bees", "wasps")
DIGITS = InputSpec(channels=1, height=32, width=32, mean=(0.0,), std=(1.0,), crop_fraction=1.0)

WITH_TIMM_ALONE = """
import json, sys
from pathlib import Path
sys.modules["tl_toolkit"] = None  # An import fails.
import timm, torch
for folder in map(Path, sys.argv[1:]):
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    kept = torch.load(folder.with_suffix(".pt"), weights_only=True)
    with torch.inference_mode():
        difference = (model(kept["images"]) - kept["logits"]).abs().max() / kept["logits"].abs().max().clamp(min=1)
    print(json.dumps([folder.name, float(difference), model.pretrained_cfg["label_names"]]))
"""


def untrained(name: str, head: str = "swap", spec: InputSpec | None = None, **changes: object) -> ImageClassifier:
    """A network with random weights that give outputs of the order of 1."""
    arch = resolve_arch(name, changes.get("arch_options"))  # type: ignore[arg-type]
    spec = spec or default_input_spec(arch)
    torch.manual_seed(0)
    outputs = 1 if changes.get("one_logit") else len(changes.get("class_names", NAMES))  # type: ignore[arg-type]
    module, head_modules = rebuild_network(arch, outputs, head, 1000, spec)
    for tensor in module.state_dict().values():
        if tensor.dim() > 1:
            tensor.normal_(0, (1.6 / tensor[0].numel()) ** 0.5)
        elif tensor.is_floating_point():
            tensor.uniform_(0.5, 1.2)
    known = {"architecture": str(arch), "head": head, "base_classes": 1000, "class_names": NAMES, "input_spec": spec}
    made = classifier(module, ModelMetadata(**{**known, **changes}))  # type: ignore[arg-type]
    made.head_modules = head_modules
    return plain_copy(made)


def write(model: ImageClassifier, folder: Path, card: str | None = None) -> HubFolder:
    """Write a folder, and what the model says of some images beside it."""
    folder.mkdir()
    written = write_hub_folder(model, card, "me/ants", folder, noise())
    spec = model.input_spec
    images = torch.randn(2, spec.channels, spec.height, spec.width)
    torch.save({"images": images, "logits": model.logits(images)}, folder.with_suffix(".pt"))
    return written


def load_with_timm_alone(*folders: Path) -> list[list[object]]:
    """Load folders in a new process."""
    command = [sys.executable, "-c", WITH_TIMM_ALONE, *map(str, folders)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def check_outputs_in_timm_alone(cases: list[tuple[str, str]], tmp_path: Path) -> None:
    """Write folders of networks with heads, print a table, and load them with timm where it has the network."""
    for_timm = []
    for name, head in cases:
        folder = tmp_path / f"{name.replace(':', '-')}-{head}"
        written = write(
            untrained(name, head, DIGITS.with_size(28 if name == "lenet5" else 32) if name in CLASSIC else None), folder
        )
        print(f"{name:28} {head:7} {written.architecture:32} {written.comparison.describe()} {written.not_timm}")
        if not written.not_timm:
            for_timm.append(folder)
    assert [name for name, _ in cases if name == "lenet5"] == ["lenet5"] * (len(cases) - len(for_timm))
    loaded = load_with_timm_alone(*for_timm)
    assert [row[0] for row in loaded] == [folder.name for folder in for_timm]
    assert max(row[1] for row in loaded) <= 1e-5
    assert all(row[2] == list(NAMES) for row in loaded)


def test_folder_gives_the_same_outputs_in_a_process_that_knows_timm_alone(tmp_path: Path):
    cases = [("mobilenet_v3_small", "swap"), ("timm:test_vit", "append"), ("resnet18_digits", "swap")]
    check_outputs_in_timm_alone(cases, tmp_path)


def test_folder_has_the_preprocessing_for_timm(tmp_path: Path):
    spec = InputSpec(
        height=96, width=64, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6), interpolation="bilinear", crop="squash",
        crop_fraction=0.5,
    )  # fmt: skip
    write(untrained("timm:test_resnet", spec=spec), tmp_path / "f")
    model = timm.create_model(f"local-dir:{tmp_path / 'f'}", pretrained=True)
    data = timm.data.resolve_model_data_config(model)
    assert data == {
        "input_size": [3, 96, 64], "interpolation": "bilinear", "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6],
        "crop_pct": 0.5, "crop_mode": "squash",
    }  # fmt: skip
    steps = str(timm.data.create_transform(**data))
    assert "Resize(size=(192, 128), interpolation=bilinear" in steps
    assert "CenterCrop(size=[96, 64])" in steps


def test_folder_of_a_network_built_for_another_size_is_built_for_it_by_timm(tmp_path: Path):
    written = write(untrained("timm:test_vit", spec=InputSpec(height=96, width=96)), tmp_path / "f")
    assert (written.comparison.identical, written.not_timm) == (True, "")
    model = timm.create_model(f"local-dir:{tmp_path / 'f'}", pretrained=True)
    assert model.patch_embed.img_size == (96, 96)


def test_folder_of_a_network_with_options_is_built_with_them_by_timm(tmp_path: Path):
    written = write(untrained("timm:test_resnet", arch_options={"stem_width": 24}), tmp_path / "f")
    assert (written.comparison.identical, written.not_timm) == (True, "")
    assert json.loads((tmp_path / "f" / "config.json").read_text())["model_args"] == {"stem_width": 24}


def test_folder_of_one_logit_says_what_it_means(tmp_path: Path):
    write(untrained("timm:test_resnet", class_names=("ants", "bees"), one_logit=True), tmp_path / "f")
    config = json.loads((tmp_path / "f" / "config.json").read_text())
    assert (config["num_classes"], config["label_names"]) == (1, ["bees"])
    assert config["label_descriptions"] == {
        "bees": "the sigmoid of the only output is its probability; else it is ants"
    }


@pytest.mark.parametrize(
    ("name", "head", "reason"),
    [
        ("squeezenet1_1", "swap", "it has no squeezenet1_1"),
        ("timm:test_resnet", "mlp", 'its networks end in one Linear, and head="mlp" has two'),
    ],
)
def test_folder_of_what_timm_has_not_is_loaded_by_tl(name: str, head: str, reason: str, tmp_path: Path):
    model = untrained(name, head)
    written = write(model, tmp_path / "f")
    assert written.not_timm == reason
    assert f"- timm cannot load it: {reason}." in (tmp_path / "f" / "README.md").read_text()
    assert json.loads((tmp_path / "f" / "config.json").read_text())["library_name"] == "tl_toolkit"
    kept = torch.load(tmp_path / "f.pt", weights_only=True)
    assert torch.equal(plain_copy(tl.load(tmp_path / "f", device="cpu")).logits(kept["images"]), kept["logits"])


def test_folder_whose_outputs_differ_in_timm_is_for_tl_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(timm_twin, "TWINS", {"mobilenet_v3_small": ("mobilenetv3_small_100", {"bn_eps": 0.1})})
    written = write(untrained("mobilenet_v3_small", spec=InputSpec(height=64, width=64)), tmp_path / "f")
    assert written.not_timm == "its network of that name gives other outputs for images of 64x64 px"
    assert (written.architecture, written.comparison.identical) == ("torchvision:mobilenet_v3_small", True)
    assert tl.load(tmp_path / "f").metadata.architecture == "torchvision:mobilenet_v3_small"


@pytest.mark.slow
def test_folder_of_vgg_for_large_images_is_for_tl_alone(tmp_path: Path):
    # Above 224 px timm's VGG averages outputs of its convolutions, torchvision's pools before its Linears.
    written = write(untrained("vgg11", spec=InputSpec(height=320, width=320)), tmp_path / "f")
    assert written.not_timm == "its network of that name gives other outputs for images of 320x320 px"


def test_folder_of_a_run_tells_unknown_images_as_the_run_does(judged_run: Run, tiny_data: Path, tmp_path: Path):
    model = plain_copy(tl.load(judged_run.path, device="cpu", precision="fp32"))
    write(model, tmp_path / "f", card="# Ants\n")
    images = sorted((tiny_data / "test").rglob("*.png"))[:6]
    published = tl.load(tmp_path / "f", device="cpu", precision="fp32")
    expected, found = ([model_.predict(image).to_dict() for image in images] for model_ in (model, published))
    assert published.metadata.novelty is not None
    assert found == expected


def test_folder_of_an_appended_head_says_that_it_tells_no_unknown_images(judged_run: Run, tmp_path: Path):
    note = judged_run.model.metadata.novelty
    written = write(untrained("timm:test_resnet", "append", novelty=note), tmp_path / "f")
    assert written.changed == (
        "The appended Linear and the one before it are one.",
        "It does not tell unknown images: what that needs is the layer before.",
    )
    assert tl.load(tmp_path / "f").metadata.novelty is None


def test_folder_tells_nobody_where_the_authors_files_are(tiny_run: Run, tmp_path: Path):
    model = plain_copy(tl.load(tiny_run.path, device="cpu", precision="fp32"))
    write(model, tmp_path / "f", (tiny_run.path / "model_card.md").read_text())
    assert str(tiny_run.path.parent.parent.parent).encode() in (tiny_run.path / "model.safetensors").read_bytes()
    for file in (tmp_path / "f").iterdir():
        assert b"/tmp" not in file.read_bytes(), file
        assert str(tmp_path.parent).encode() not in file.read_bytes(), file
    assert tl.load(tmp_path / "f").metadata.training["data"] == "zeros ünd ones"


def test_metadata_without_places_keep_names_of_the_hub():
    training = {"data": "hf:me/pets", "weights": "hf-hub:timm/resnet18", "data_root": "/home/me/data", "seed": 1}
    metadata = ModelMetadata(
        "timm:resnet18", "swap", 10, NAMES, InputSpec(), training=training, weights="/home/me/w/resnet.pth"
    )
    published = without_places(metadata)
    assert published.training == {**training, "data_root": "data"}
    assert published.weights == "resnet.pth"


def test_folder_that_tl_itself_reads_otherwise_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    model = untrained("squeezenet1_1")
    other = untrained("squeezenet1_1")
    with torch.no_grad():
        other.module.classifier[1].bias += 1  # type: ignore[index,operator]
    monkeypatch.setattr(hub_folder, "load", lambda *_, **__: other)
    with pytest.raises(
        ToolkitError, match=r"model.safetensors gives other outputs than the model on 3 images \(noise\)"
    ):
        write(model, tmp_path / "f")
