"""Hugging Face's Trainer at its defaults with a torchvision network whose backbone is frozen. Prints a JSON line."""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from transformers import Trainer, TrainingArguments
from tutorial import build, loaders


class WithLoss(nn.Module):
    """What the Trainer expects of a model."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixel_values: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        logits = self.network(pixel_values)
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


def collate(samples: list[tuple[torch.Tensor, int]]) -> dict[str, torch.Tensor]:
    return {
        "pixel_values": torch.stack([pixels for pixels, _ in samples]),
        "labels": torch.tensor([target for _, target in samples]),
    }


def accuracy(prediction: tuple[np.ndarray, np.ndarray]) -> dict[str, float]:
    logits, labels = prediction
    return {"accuracy": float((logits.argmax(1) == labels).mean())}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--tune", default="linear-probe", choices=("linear-probe", "full"))
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--size", type=int, default=224)
    chosen = parser.parse_args()
    train, judged = (loader.dataset for loader in loaders(chosen.data, chosen.size, 32, 0).values())
    model, _ = build("resnet18", chosen.weights, len(train.classes), chosen.tune)
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder,
            num_train_epochs=chosen.epochs,
            per_device_train_batch_size=32,
            per_device_eval_batch_size=32,
            learning_rate=1e-3,
            eval_strategy="epoch",
            save_strategy="no",
            report_to="none",
            remove_unused_columns=False,
            dataloader_num_workers=2,
            use_cpu=not torch.cuda.is_available(),
        )
        trainer = Trainer(
            WithLoss(model),
            arguments,
            train_dataset=train,
            eval_dataset=judged,
            data_collator=collate,
            compute_metrics=accuracy,
        )
        started = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - started
        scores = trainer.evaluate()
    images = chosen.epochs * len(train)
    print(json.dumps({"accuracy": scores["eval_accuracy"], "images_per_second": images / seconds}))


if __name__ == "__main__":
    main()
