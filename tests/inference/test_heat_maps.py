import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torch import nn

from tests.helpers.images import scene
from tl_toolkit.config.choices import Head
from tl_toolkit.errors import ImageError, ModelError, UnknownNameError
from tl_toolkit.inference.classifier import ImageClassifier
from tl_toolkit.inference.heat_maps import heat_map, heat_maps, overlay
from tl_toolkit.input_spec import InputSpec
from tl_toolkit.model_file import ModelMetadata
from tl_toolkit.models.backbones import resolve_arch
from tl_toolkit.models.build import build_network
from tl_toolkit.models.weights.resolve import InputOverrides
from tl_toolkit.recipes.finetune import Run
from tl_toolkit.training.device import select_device

SIDE = 64
SPEC = InputSpec(3, SIDE, SIDE, (0.5,) * 3, (0.25,) * 3, crop="squash", crop_fraction=1.0)


def classifier(module: nn.Module, spec: InputSpec = SPEC, classes: int = 2, **values: object) -> ImageClassifier:
    names = tuple(f"class {index}" for index in range(classes))
    metadata = ModelMetadata("timm:test_resnet", "swap", 10, names, spec, **values)
    return ImageClassifier(module, metadata, select_device("cpu", "auto"))


def marked(generator: torch.Generator, kind: int, left: int, top: int) -> torch.Tensor:
    """Grey noise (3, SIDE, SIDE), uint8, with a red square (class 0) or a blue one (class 1) somewhere."""
    pixels = torch.randint(90, 165, (1, SIDE, SIDE), generator=generator).repeat(3, 1, 1)
    pixels[:, top : top + 16, left : left + 16] = torch.tensor([230, 30, 30] if kind == 0 else [30, 30, 230])[
        :, None, None
    ]
    return pixels.to(torch.uint8)


def trained(module: nn.Module, steps: int = 60) -> ImageClassifier:
    """Train a network to tell images with a red square from those with a blue one."""
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(module.parameters(), lr=3e-3)
    model = classifier(module)
    module.train()
    for _ in range(steps):
        kinds = torch.randint(2, (16,), generator=generator)
        places = torch.randint(SIDE - 16, (16, 2), generator=generator)
        images = [marked(generator, kind, *place) for kind, place in zip(kinds.tolist(), places.tolist(), strict=True)]
        loss = nn.functional.cross_entropy(module(model.normalize(torch.stack(images))), kinds)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    optimizer.zero_grad()
    module.eval()
    return model


def small_network() -> nn.Module:
    torch.manual_seed(0)

    def block(inputs: int, outputs: int) -> list[nn.Module]:
        return [nn.Conv2d(inputs, outputs, 3, 2, 1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]

    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 2)]
    return nn.Sequential(*block(3, 16), *block(16, 32), *block(32, 32), *head)


def small_transformer() -> nn.Module:
    torch.manual_seed(0)
    size = {"img_size": SIDE, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2}
    return timm.models.VisionTransformer(**size, num_classes=2, reg_tokens=2)


@pytest.fixture(scope="module")
def network() -> ImageClassifier:
    return trained(small_network())


def two_halves(seed: int) -> Image.Image:
    """An image with a red square in its left half and a blue one in its right half."""
    generator = torch.Generator().manual_seed(seed)
    left, right = (marked(generator, kind, 10 + 22 * kind, 10 + 5 * seed) for kind in (0, 1))
    both = torch.cat([left[:, :, : SIDE // 2], right[:, :, SIDE // 2 :]], dim=2)
    return Image.fromarray(both.permute(1, 2, 0).numpy())


def share_of_left(values: np.ndarray) -> float:
    return float(values[:, : SIDE // 2].sum() / values.sum())


def test_map_of_each_class_lies_on_its_half_of_the_image(network: ImageClassifier):
    images = [two_halves(seed) for seed in range(6)]
    red, blue = (heat_maps(network, images, [kind] * 6) for kind in (0, 1))
    assert min(share_of_left(each.values) for each in red) > 0.8
    assert max(share_of_left(each.values) for each in blue) < 0.2
    assert red[0].method == "Grad-CAM of 8, 8 x 8 places"
    assert (red[0].class_index, blue[0].class_index) == (0, 1)


def test_map_of_a_transformer_leaves_out_class_and_register_tokens():
    model = trained(small_transformer(), 120)
    images = [two_halves(seed) for seed in range(6)]
    found = heat_maps(model, images, [0] * 6)
    assert found[0].method == "Grad-CAM of tokens of blocks.1.norm1, 8 x 8 places"
    red = np.mean([share_of_left(each.values) for each in found])
    blue = np.mean([share_of_left(each.values) for each in heat_maps(model, images, [1] * 6)])
    assert (red > 0.6, blue < 0.25) == (True, True)


def test_maps_are_from_0_to_1_over_the_input_and_name_the_likeliest_class(network: ImageClassifier):
    image = Image.fromarray(marked(torch.Generator().manual_seed(5), 1, 30, 20).permute(1, 2, 0).numpy())
    found = heat_map(network, image)
    assert (found.values.shape, found.values.dtype) == ((SIDE, SIDE), np.float32)
    assert (found.values.min() >= 0, found.values.max()) == (True, 1.0)
    assert found.class_index == 1
    row, column = np.unravel_index(found.values.argmax(), found.values.shape)
    assert (20 - 8 <= row <= 36 + 8, 30 - 8 <= column <= 46 + 8) == (True, True)
    assert np.array_equal(found.pixels, np.asarray(image))


def test_maps_of_a_batch_equal_those_of_single_images(network: ImageClassifier):
    images = [two_halves(seed) for seed in range(9)]  # More than a batch.
    together = heat_maps(network, images)
    for image, found in zip(images, together, strict=True):
        assert np.allclose(heat_map(network, image).values, found.values, atol=1e-4)


def test_other_weights_give_another_map(network: ImageClassifier):
    """The model-parameter randomization test of Adebayo et al. 2018 (arXiv:1810.03292)."""
    random = classifier(small_network())
    images = [two_halves(seed) for seed in range(6)]
    pairs = zip(heat_maps(network, images, [0] * 6), heat_maps(random, images, [0] * 6), strict=True)
    alike = [np.corrcoef(one.values.ravel(), other.values.ravel())[0, 1] for one, other in pairs]
    assert np.mean(np.nan_to_num(alike)) < 0.5


def test_explaining_changes_nothing_of_the_model(network: ImageClassifier):
    before = copy.deepcopy(network.module.state_dict())
    logits = network.logits([two_halves(0)])
    network.module.requires_grad_(True)
    heat_map(network, two_halves(0))
    assert all(parameter.grad is None for parameter in network.module.parameters())
    assert all(torch.equal(value, before[key]) for key, value in network.module.state_dict().items())
    assert torch.equal(network.logits([two_halves(0)]), logits)
    assert not any(part._forward_hooks for part in network.module.modules())


def test_one_logit_speaks_for_the_second_class_and_against_the_first(network: ImageClassifier):
    one = copy.deepcopy(network.module)
    last, two = one[-1], network.module[-1]
    one[-1] = nn.Linear(last.in_features, 1)
    with torch.no_grad():
        one[-1].weight.copy_(two.weight[1:] - two.weight[:1])
        one[-1].bias.copy_(two.bias[1:] - two.bias[:1])
    model = classifier(one, one_logit=True, loss="bce")
    for kind, on_left in ((0, True), (1, False)):
        assert (share_of_left(heat_map(model, two_halves(0), kind).values) > 0.5) == on_left


def test_network_without_places_gets_gradients_of_its_input():
    perceptron = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, 2))
    with torch.no_grad():
        perceptron[1].weight.zero_()
        perceptron[1].weight.view(2, 3, SIDE, SIDE)[1, :, 40:50, 8:20] = 1.0
    found = heat_map(classifier(perceptron), two_halves(0), 1)
    assert found.method == "SmoothGrad of the input"
    assert found.values[36:54, 4:24].sum() / found.values.sum() > 0.99
    assert np.array_equal(found.values, heat_map(classifier(perceptron), two_halves(0), 1).values)


class WritesInPlace(nn.Module):
    """A network that writes into its last map, as torchvision's DenseNet does."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.last, self.head = nn.Conv2d(3, 8, 3, 4, 1), nn.Linear(8, 2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        maps = self.last(images)
        return self.head(nn.functional.relu_(maps).mean(dim=(2, 3)))


def test_network_that_writes_into_its_last_map_has_the_map_from_before():
    model = classifier(WritesInPlace())
    found = heat_map(model, two_halves(0), 1)
    assert found.method == "Grad-CAM of last, 16 x 16 places"
    inputs = model.normalize(model.to_pixels(two_halves(0))[None])
    maps = model.module.last(inputs).detach().requires_grad_()
    model.module.head(maps.relu().mean(dim=(2, 3)))[0, 1].backward()
    warm = (maps.grad.mean(dim=(2, 3), keepdim=True) * maps).sum(dim=1, keepdim=True).relu().detach()
    spread = nn.functional.interpolate(warm, size=(SIDE, SIDE), mode="bilinear")[0, 0]
    assert np.allclose(found.values, (spread / spread.max()).numpy(), atol=1e-5)


def test_class_that_nothing_speaks_for_has_an_empty_map(network: ImageClassifier):
    flat = copy.deepcopy(network.module)
    with torch.no_grad():
        flat[-1].weight.zero_()
    found = heat_map(classifier(flat), two_halves(0), 0)
    assert not found.values.any()


def test_weights_that_are_not_finite_are_refused(network: ImageClassifier):
    broken = copy.deepcopy(network.module)
    with torch.no_grad():
        broken[-1].weight.fill_(torch.nan)
    with pytest.raises(ModelError, match="are not finite"):
        heat_map(classifier(broken), two_halves(0))


@pytest.mark.parametrize("size", [(8, 8), (3, 90), (500, 100)])
def test_images_of_any_size_have_a_map_of_the_inputs_size(size: tuple[int, int], network: ImageClassifier):
    assert heat_map(network, scene(0).resize(size)).values.shape == (SIDE, SIDE)


def test_tiny_grayscale_inputs_have_a_map():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64, 2))
    model = classifier(module, InputSpec(1, 8, 8, (0.5,), (0.5,)))
    found = heat_map(model, scene(1))
    assert (found.values.shape, found.pixels.shape) == ((8, 8), (8, 8, 1))
    assert found.overlay().size == (8, 8)
    assert found.visible == pytest.approx(0.875**2 * 0.75, abs=0.1)


def test_explain_takes_names_lists_and_paths(network: ImageClassifier, tmp_path: Path):
    two_halves(0).save(tmp_path / "both.png")
    one = network.explain(tmp_path / "both.png", "class 1")
    assert one.class_index == 1
    assert [each.class_index for each in network.explain([two_halves(0), two_halves(1)], "class 0")] == [0, 0]
    assert network.explain([]) == []
    with pytest.raises(UnknownNameError, match="No class is named 'class 9'"):
        network.explain(two_halves(0), "class 9")
    with pytest.raises(ImageError):
        network.explain(tmp_path / "none.png")


def test_overlay_leaves_cold_places_grey_and_makes_warm_ones_bright():
    pixels = np.full((4, 4, 3), (200, 40, 40), np.uint8)
    values = np.zeros((4, 4), np.float32)
    values[1, 1] = 1.0
    shown = np.asarray(overlay(pixels, values))
    assert shown.shape == (4, 4, 3)
    assert tuple(shown[0, 0]) == (147, 67, 67)  # Half of the way to its grey.
    assert shown[1, 1].astype(int).sum() > shown[0, 0].astype(int).sum() + 200


LAYERS = {
    ("timm:test_resnet", "swap"): "layer4, 5 x 5 places",
    ("timm:test_resnet", "append"): "layer4, 5 x 5 places",
    ("timm:test_resnet", "mlp"): "layer4, 5 x 5 places",
    ("timm:test_vit", "swap"): "tokens of blocks.5.norm1, 10 x 10 places",
    ("timm:tf_efficientnet_lite0", "swap"): "bn2, 7 x 7 places",
    ("torchvision:resnet18", "swap"): "layer4, 7 x 7 places",
    ("torchvision:squeezenet1_1", "swap"): "classifier.2, 13 x 13 places",
    ("torchvision:mobilenet_v3_small", "swap"): "features, 7 x 7 places",
    ("timm:convnext_atto", "swap"): "norm_pre, 7 x 7 places",
    ("timm:convit_tiny", "swap"): "tokens of blocks.11.norm1, 14 x 14 places",
    ("timm:lenet5", "append"): "features.pool2, 5 x 5 places",
}


def built(name: str, head: Head) -> ImageClassifier:
    torch.manual_seed(0)
    network = build_network(resolve_arch(name), 3, head, "none", InputOverrides())
    return classifier(network.module, network.input_spec, 3)


@pytest.mark.parametrize(("name", "head"), LAYERS)
def test_map_is_of_the_last_layer_that_has_places(name: str, head: Head):
    found = heat_map(built(name, head), scene(0))
    assert found.method == f"Grad-CAM of {LAYERS[name, head]}"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "layer"),
    {
        "torchvision:vgg16": "avgpool, 7 x 7 places",
        "torchvision:densenet121": "features, 7 x 7 places",
        "torchvision:swin_t": "permute, 7 x 7 places",
        "timm:swin_tiny_patch4_window7_224": "norm, 7 x 7 places",
        "torchvision:vit_b_16": "tokens of encoder.layers.encoder_layer_11.ln_1, 14 x 14 places",
        "timm:deit_tiny_distilled_patch16_224": "tokens of blocks.11.norm1, 14 x 14 places",
        "timm:mixer_s32_224": "tokens of norm, 7 x 7 places",
        "timm:coatnet_nano_rw_224": "norm, 7 x 7 places",
        "timm:mobilevit_xxs": "final_conv, 8 x 8 places",
    }.items(),
)
def test_map_is_of_the_last_layer_that_has_places_in_large_networks(name: str, layer: str):
    assert heat_map(built(name, "swap"), scene(0)).method == f"Grad-CAM of {layer}"


def test_model_of_a_run_is_explained_in_float32_whatever_its_precision(tiny_run: Run, tiny_data: Path):
    image = min((tiny_data / "test" / "7").iterdir())
    found = tiny_run.model.explain(image)
    assert found.values.max() == 1.0
    assert tiny_run.model.class_names[found.class_index] == tiny_run.model.predict(image).class_name


@pytest.fixture
def explained_twice(tiny_run: Run, tiny_data: Path) -> Callable[[], np.ndarray]:
    image = min((tiny_data / "test" / "7").iterdir())
    return lambda: tiny_run.model.explain(image).values


def test_explaining_twice_gives_the_same_map(explained_twice: Callable[[], np.ndarray]):
    assert np.array_equal(explained_twice(), explained_twice())


def test_noise_of_smooth_gradients_is_the_same_each_time():
    torch.manual_seed(0)
    perceptron = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, 8), nn.Tanh(), nn.Linear(8, 2))
    model = classifier(perceptron)
    assert np.array_equal(heat_map(model, two_halves(0), 1).values, heat_map(model, two_halves(0), 1).values)
