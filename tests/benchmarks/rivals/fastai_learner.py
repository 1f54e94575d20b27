"""fastai's vision_learner at its defaults: `fine_tune(N)`, or N epochs with the body frozen.

Its ResNet18 gets the same weights as the others; what fastai adds, its two-layer head among it, stays. Prints a JSON
line at the end.
"""

import argparse
import json
import time
from pathlib import Path

from fastai.vision.all import ImageDataLoaders, Resize, accuracy, aug_transforms, resnet18, vision_learner
from safetensors.torch import load_file


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--tune", default="linear-probe", choices=("linear-probe", "fine-tune"))
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--size", type=int, default=224)
    chosen = parser.parse_args()
    judged = "val" if (chosen.data / "val").is_dir() else "test"
    dls = ImageDataLoaders.from_folder(
        chosen.data,
        train="train",
        valid=judged,
        item_tfms=Resize(chosen.size * 460 // 224),
        batch_tfms=aug_transforms(size=chosen.size),
    )
    learner = vision_learner(dls, resnet18, pretrained=False, metrics=accuracy)
    learner.path = Path.cwd()
    weights = load_file(chosen.weights)
    body = learner.model[0]  # Its children are the network's own, without names.
    names = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")
    for name, part in zip(names, body.children(), strict=True):
        prefix = f"{name}."
        part.load_state_dict(
            {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
        )
    started = time.perf_counter()
    if chosen.tune == "fine-tune":
        learner.fine_tune(chosen.epochs)
    else:
        learner.freeze()
        learner.fit_one_cycle(chosen.epochs)
    seconds = time.perf_counter() - started
    images = chosen.epochs * len(dls.train_ds)
    print(json.dumps({"accuracy": float(learner.validate()[1]), "images_per_second": images / seconds}))


if __name__ == "__main__":
    main()
