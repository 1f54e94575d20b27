"""fastai's `fine_tune(N)` at its defaults: one epoch with the body frozen, then N of everything.

The learner, its learning rate, its two-layer head, its float32 and `aug_transforms` are fastai's own. Photographs are
resized to 460 px for an input of 224 px before they are augmented, as its book does; images smaller than the input
are resized to it. The validation after each epoch is left out, because it would take longer than training where test
is larger than train; it changes nothing in the model.
"""

import time
from pathlib import Path

from fastai.callback.core import Callback, CancelValidException
from fastai.torch_core import set_seed
from fastai.vision.all import ImageDataLoaders, Resize, accuracy, aug_transforms, vision_learner
from lite0 import ARCH, BATCH_SIZE, pretrained_options, print_result, read_settings


class WithoutValidation(Callback):
    def before_validate(self) -> None:
        raise CancelValidException


def main() -> None:
    chosen = read_settings()
    set_seed(chosen.seed)
    dls = ImageDataLoaders.from_folder(
        chosen.data,
        train="train",
        valid="test",
        bs=BATCH_SIZE,
        item_tfms=Resize(chosen.size if chosen.small_images else chosen.size * 460 // 224),
        batch_tfms=aug_transforms(size=chosen.size, do_flip=chosen.flip),
        num_workers=chosen.workers,
    )
    learner = vision_learner(dls, ARCH, metrics=accuracy, path=Path.cwd(), **pretrained_options())
    started = time.perf_counter()
    with learner.added_cbs(WithoutValidation()), learner.no_bar():
        learner.fine_tune(chosen.epochs)
    seconds = time.perf_counter() - started
    with learner.no_bar():
        _, score = learner.validate()
    settings = {"fine_tune": chosen.epochs, "learning_rate": 2e-3, "size": chosen.size, "precision": "float32"}
    print_result(float(score), (chosen.epochs + 1) * len(dls.train_ds), seconds, settings, "fastai")


if __name__ == "__main__":
    main()
