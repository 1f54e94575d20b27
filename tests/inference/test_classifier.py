import copy
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import tl_toolkit as tl
from tl_toolkit.errors import ImageError, ModelFileError, TrainingError, UsageError
from tl_toolkit.inference.classifier import ImageClassifier
from tl_toolkit.input_spec import InputSpec
from tl_toolkit.models.pickles.load import load_pickled
from tl_toolkit.recipes.finetune import Run

GRAY = InputSpec(channels=1, height=32, width=32, mean=(0.5,), std=(0.5,))


def some_images(data: Path) -> list[Path]:
    return sorted((data / "test" / "7").iterdir())


def test_load_of_a_copied_run_gives_the_same_bits(tiny_run: Run, tiny_data: Path, tmp_path: Path):
    copied = shutil.copytree(tiny_run.path, tmp_path / "kopiert nach ünten")
    images = [str(path.resolve()) for path in some_images(tiny_data)]
    expected = tiny_run.model.logits(images)
    script = "import sys, torch, tl_toolkit as tl;torch.save(tl.load(sys.argv[1]).logits(sys.argv[3:]), sys.argv[2])"
    command = [sys.executable, "-c", script, str(copied), str(tmp_path / "logits.pt"), *images]
    subprocess.run(command, cwd=tmp_path, check=True, env={**os.environ, "OMP_WAIT_POLICY": "passive"})
    assert torch.equal(torch.load(tmp_path / "logits.pt"), expected)


def test_load_gives_the_trained_weights_and_what_belongs_to_them(tiny_run: Run):
    model = tl.load(tiny_run.path / "model.safetensors")
    trained = tiny_run.model.module.state_dict()
    assert all(torch.equal(value, trained[key]) for key, value in model.module.state_dict().items())
    assert model.class_names == ("0", "1", "7")
    assert model.input_spec.height == 32
    assert model.metadata.metrics["val_accuracy"] == tiny_run.summary["val_accuracy"]
    assert model.metadata.training["arch"] == "resnet18"


def test_transform_makes_what_logits_takes(tiny_run: Run, tiny_data: Path):
    model, images = tiny_run.model, some_images(tiny_data)[:3]
    batch = torch.stack([model.transform(path) for path in images])
    assert batch.shape == (3, 3, 32, 32)
    assert torch.equal(model.logits(batch), model.logits(images))


def test_predict_of_one_image_and_of_many(tiny_run: Run, tiny_data: Path):
    images = some_images(tiny_data)
    one = tiny_run.model.predict(images[0], top_k=2)
    assert one.path == str(images[0])
    assert len(one.top_k) == 2
    assert one.class_name == one.top_k[0].class_name
    assert one.probability >= one.top_k[1].probability
    many = tiny_run.model.predict([Image.open(path) for path in images])
    assert [p.path for p in many] == [f"image {index}" for index in range(len(images))]
    assert sum(c.probability for c in many[0].top_k) == pytest.approx(1, abs=1e-3)
    assert tiny_run.model.predict([]) == []


def test_predict_of_a_bad_image_raises(tiny_run: Run, tmp_path: Path):
    with pytest.raises(ImageError, match=r"missing\.png: No such file"):
        tiny_run.model.predict(tmp_path / "missing.png")


def test_load_of_something_else_says_what_is_needed(tmp_path: Path, tiny_run: Run):
    with pytest.raises(UsageError, match=r"has no model\.safetensors in it\. Give a run folder"):
        tl.load(tmp_path)
    with pytest.raises(UsageError, match="There is no model 'nothing'"):
        tl.load("nothing")
    torch.save(tiny_run.model.module.state_dict(), tmp_path / "bare.pt")
    with pytest.raises(
        UsageError,
        match=r"holds weights without class names and InputSpec.* Nor is there bare\.pt\.json beside it, as tl export "
        r"writes it\. .* train with it: weights=",
    ):
        tl.load(tmp_path / "bare.pt")
    torch.save(tiny_run.model.module, tmp_path / "plain.pt")
    with pytest.raises(UsageError, match="holds a network without class names and InputSpec"):
        tl.load(tmp_path / "plain.pt")


def test_load_of_a_full_model_gives_the_same_bits(tiny_run: Run, tiny_data: Path):
    loaded = tl.load(tiny_run.path / "full_model.pt")
    assert torch.equal(loaded.logits(some_images(tiny_data)), tiny_run.model.logits(some_images(tiny_data)))
    assert loaded.metadata == tl.load(tiny_run.path).metadata
    assert not hasattr(loaded.module, "tl_card")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda metadata: metadata | {"class_names": '["a", "b"]'}, r"gives \(1, 3\) for one image; expected \(1, 2\)"),
        (
            lambda metadata: metadata | {"class_names": "[]"},
            "is not a model that tl can load: its class names are fewer than two",
        ),
        (lambda metadata: {"format": "mine"}, "is not a model that tl can load: it was not written by tl"),
        (lambda metadata: metadata | {"input_spec": json.dumps(GRAY.to_dict())}, "does not take the images that it"),
    ],
)
def test_load_of_a_full_model_whose_card_does_not_fit_raises(
    change: Callable[[dict[str, str]], dict[str, str]], message: str, tiny_run: Run, tmp_path: Path
):
    module = load_pickled(tiny_run.path / "full_model.pt")
    module.tl_card = change(module.tl_card)
    torch.save(module, tmp_path / "odd.pt")
    with pytest.raises(ModelFileError, match=message):
        tl.load(tmp_path / "odd.pt")


def test_load_of_a_truncated_model_raises(tiny_run: Run, tmp_path: Path):
    content = (tiny_run.path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelFileError, match="is not a model that tl can load"):
        tl.load(tmp_path)


@pytest.mark.parametrize("name", ["model.bin", "photo.jpg", "model"])
def test_load_of_a_renamed_model_goes_by_its_content(name: str, tiny_run: Run, tmp_path: Path):
    shutil.copy(tiny_run.path / "model.safetensors", tmp_path / name)
    shutil.copy(tiny_run.path / "full_model.pt", tmp_path / "full.safetensors")
    assert (
        tl.load(tmp_path / name).metadata
        == tl.load(tmp_path / "full.safetensors").metadata
        == tl.load(tiny_run.path).metadata
    )


@pytest.mark.parametrize("name", ["model.safetensors", "model.pt", "photo.jpg"])
def test_load_of_what_is_no_model_says_what_it_is(name: str, tmp_path: Path):
    path, give = tmp_path / name, "Give a run folder, or a model file that tl wrote."
    Image.new("RGB", (9, 7)).save(path, "JPEG")
    with pytest.raises(UsageError) as error:
        tl.load(path)
    assert str(error.value) == f"{path} is an image (JPEG), not a model. {give}"
    path.write_text("arch: resnet18\n")
    with pytest.raises(UsageError) as error:
        tl.load(path)
    assert str(error.value) == f"{path} is a text file, not a model. {give}"
    path.write_bytes(bytes(range(9)))
    with pytest.raises(ModelFileError, match="is not a model that tl can load: expected a safetensors file or one of"):
        tl.load(path)


def test_load_of_another_file_of_a_run_says_where_its_model_is(tiny_run: Run):
    with pytest.raises(UsageError) as error:
        tl.load(tiny_run.path / "curves.png")
    assert str(error.value) == (
        f"{tiny_run.path / 'curves.png'} is an image (PNG), not a model. The model of that run is in its folder: "
        f"{tiny_run.path}"
    )
    with pytest.raises(ModelFileError, match="it is the checkpoint of a run; give the run's folder, or its model"):
        tl.load(tiny_run.path / "checkpoint.safetensors")


def test_load_of_a_folder_without_a_model_says_what_to_give(tiny_run: Run, tmp_path: Path):
    runs = tmp_path / "runs"
    begun = runs / "begun"
    begun.mkdir(parents=True)
    (begun / "config.yaml").touch()
    with pytest.raises(UsageError) as error:
        tl.load(begun)
    assert str(error.value) == (
        f"{begun} has no model.safetensors in it. Its run has not come so far: tl finetune --resume {begun}"
    )
    with pytest.raises(UsageError) as error:
        tl.load(runs)
    assert str(error.value) == (
        f"{runs} has no model.safetensors in it, only begun. Give a run folder, or a model file that tl wrote."
    )
    content = (tiny_run.path / "model.safetensors").read_bytes()
    (runs / "whole").mkdir()
    (runs / "whole" / "model.safetensors").write_bytes(content)
    (runs / "best.bin").write_bytes(content)
    (runs / "cut.bin").write_bytes(content[: len(content) // 2])
    with pytest.raises(UsageError) as error:
        tl.load(runs)
    assert str(error.value) == (
        f"{runs} has no model.safetensors in it. Did you mean {runs / 'whole'} or {runs / 'best.bin'}?"
    )


def test_load_of_a_model_cut_short_says_that_it_is_damaged(tiny_run: Run, tmp_path: Path):
    for name in ("model.safetensors", "full_model.pt"):
        content = (tiny_run.path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2])
        with pytest.raises(ModelFileError, match="is damaged"):
            tl.load(tmp_path / name)


def test_load_of_weights_without_class_names_says_what_can_be_done(tmp_path: Path):
    save_file({"a": torch.zeros(1)}, tmp_path / "other.bin")
    with pytest.raises(ModelFileError, match=r"it has no class names\. Weights alone can be trained with: tl finetune"):
        tl.load(tmp_path / "other.bin")


def noise(count: int) -> list[Image.Image]:
    pixels = torch.randint(0, 256, (count, 32, 32, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return [Image.fromarray(each.numpy()) for each in pixels]


def test_predict_marks_noise_as_unknown_and_keeps_its_probability(judged_run: Run, tiny_data: Path):
    model = judged_run.model
    assert [each.unknown for each in model.predict(noise(5))] == [True] * 5
    known = model.predict([str(path) for path in some_images(tiny_data)])
    assert sum(bool(each.unknown) for each in known) <= 1
    [plain] = [each.to_dict() for each in model.predict(noise(1))]
    assert list(plain) == ["path", "class_name", "probability", "novelty", "unknown", "top_k"]
    assert plain["novelty"] > model.metadata.novelty.threshold


def test_predict_abstains_below_a_probability_and_still_names_the_classes(judged_run: Run, tiny_data: Path):
    images = [str(path) for path in some_images(tiny_data)]
    probabilities = [each.probability for each in judged_run.model.predict(images)]
    limit = sorted(probabilities)[2]
    found = judged_run.model.predict(images, abstain_below=limit)
    assert [each.abstained for each in found] == [probability < limit for probability in probabilities]
    assert sum(bool(each.abstained) for each in found) == 2
    assert [len(each.top_k) for each in found] == [3] * len(images)


@pytest.mark.parametrize("below", [-0.1, 1.1, float("nan")])
def test_predict_abstaining_below_what_is_no_probability_raises(below: float, judged_run: Run):
    with pytest.raises(UsageError, match=f"abstain_below is a probability from 0 to 1, not {below:g}"):
        judged_run.model.predict(noise(1), abstain_below=below)


def test_model_files_of_every_form_know_unknown_images(judged_run: Run, tmp_path: Path):
    expected = [each.to_dict() for each in judged_run.model.predict(noise(3))]
    shutil.copy(judged_run.path / "model.safetensors", tmp_path / "copy.safetensors")
    for path in (tmp_path / "copy.safetensors", judged_run.path / "full_model.pt"):
        loaded = tl.load(path)
        assert loaded.metadata.temperature == judged_run.model.metadata.temperature != 1
        assert [each.to_dict() for each in loaded.predict(noise(3))] == expected


def test_state_dict_of_a_calibrated_model_has_the_networks_own_weights(judged_run: Run):
    exported = torch.load(judged_run.path / "state_dict.pt", weights_only=True)
    trained = judged_run.model.module.state_dict()
    assert exported.keys() == trained.keys()
    assert all(torch.equal(value, trained[key]) for key, value in exported.items())


def test_full_model_whose_statistics_name_no_layer_of_it_marks_nothing(judged_run: Run, tmp_path: Path):
    module = load_pickled(judged_run.path / "full_model.pt")
    note = json.loads(module.tl_card["novelty"]) | {"layer": "elsewhere"}
    module.tl_card = module.tl_card | {"novelty": json.dumps(note)}
    torch.save(module, tmp_path / "odd.pt")
    assert tl.load(tmp_path / "odd.pt").predict(noise(1)[0]).unknown is None


def test_logits_of_a_model_that_knows_unknown_images_are_the_networks_own(judged_run: Run):
    model, images = judged_run.model, noise(3)
    batch = torch.stack([model.transform(image) for image in images])
    with torch.inference_mode():
        expected = model.module(batch).float()
    assert torch.allclose(model.logits(images), expected, atol=1e-2)
    assert model.outputs(batch, with_features=False)[1] is None
    assert model.outputs(batch)[1].shape == (3, model.head.in_features)
    assert not model.head._forward_pre_hooks


def test_predict_with_weights_that_are_not_finite_refuses(tiny_run: Run, tiny_data: Path):
    module = copy.deepcopy(tiny_run.model.module)
    module.fc.weight.data[0] = torch.nan
    model = ImageClassifier(module, tiny_run.model.metadata, tiny_run.model.compute)
    paths = sorted((tiny_data / "test" / "1").iterdir())[:2]
    with pytest.raises(TrainingError) as refused:
        model.predict(list(paths))
    assert str(refused.value) == (
        "The network gives no finite numbers (NaN or infinity) for 2 of 2 images, the first of them "
        f"{paths[0]}. The weights are not usable: train again, perhaps with a lower learning rate."
    )
