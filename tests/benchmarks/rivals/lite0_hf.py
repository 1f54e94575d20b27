"""Hugging Face's Trainer on its own wrapper of the timm network, as its example of image classification uses it.

TimmWrapperForImageClassification, everything trained, float32; the augmentation (RandomResizedCrop and mirroring), the
linear schedule and the absence of weight decay are the example's. The learning rate is 2e-4; the example's 5e-5
is for a ViT.
"""

import tempfile
import time

import numpy as np
import torch
from lite0 import ARCH, BATCH_SIZE, pretrained_state, print_result, read_settings
from timm.data import resolve_data_config
from torchvision import datasets, transforms
from transformers import (
    TimmWrapperConfig,
    TimmWrapperForImageClassification,
    Trainer,
    TrainingArguments,
    set_seed,
)

LEARNING_RATE = 2e-4


def collate(samples: list[tuple[torch.Tensor, int]]) -> dict[str, torch.Tensor]:
    return {
        "pixel_values": torch.stack([pixels for pixels, _ in samples]),
        "labels": torch.tensor([target for _, target in samples]),
    }


def accuracy(prediction: tuple[np.ndarray, np.ndarray]) -> dict[str, float]:
    logits, labels = prediction
    return {"accuracy": float((logits.argmax(1) == labels).mean())}


def main() -> None:
    chosen = read_settings()
    set_seed(chosen.seed)
    classes = sum(folder.is_dir() for folder in (chosen.data / "train").iterdir())
    model = TimmWrapperForImageClassification(TimmWrapperConfig(architecture=ARCH, num_labels=classes))
    backbone = {key: value for key, value in pretrained_state().items() if not key.startswith("classifier.")}
    left = model.timm_model.load_state_dict(backbone, strict=False)
    assert not left.unexpected_keys, left
    config = resolve_data_config({}, model=model.timm_model)
    pixels = [transforms.ToTensor(), transforms.Normalize(config["mean"], config["std"])]
    mirrored = [transforms.RandomHorizontalFlip()] if chosen.flip else []
    random = transforms.Compose([transforms.RandomResizedCrop(chosen.size), *mirrored, *pixels])
    plain = transforms.Compose([transforms.Resize(chosen.size), transforms.CenterCrop(chosen.size), *pixels])
    train = datasets.ImageFolder(chosen.data / "train", random)
    test = datasets.ImageFolder(chosen.data / "test", plain)
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder,
            num_train_epochs=chosen.epochs,
            per_device_train_batch_size=BATCH_SIZE,
            per_device_eval_batch_size=BATCH_SIZE,
            learning_rate=LEARNING_RATE,
            seed=chosen.seed,
            save_strategy="no",
            report_to="none",
            remove_unused_columns=False,
            dataloader_num_workers=chosen.workers,
            disable_tqdm=True,
            use_cpu=not torch.cuda.is_available(),
        )
        trainer = Trainer(
            model,
            arguments,
            train_dataset=train,
            eval_dataset=test,
            data_collator=collate,
            compute_metrics=accuracy,
        )
        started = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - started
        scores = trainer.evaluate()
    settings = {
        "epochs": chosen.epochs,
        "optimizer": arguments.optim.value,
        "learning_rate": LEARNING_RATE,
        "size": chosen.size,
        "precision": "float32",
    }
    print_result(scores["eval_accuracy"], chosen.epochs * len(train), seconds, settings, "transformers")


if __name__ == "__main__":
    main()
