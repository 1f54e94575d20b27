"""The loop of PyTorch's transfer-learning tutorial: float32, every photo decoded and the whole network run each epoch.

https://docs.pytorch.org/tutorials/beginner/transfer_learning_tutorial.html; train_model is its own but for the printing
and for `--tune last-stage`. The tutorial has batches of 4 and 4 worker processes; 32 and 2 are the defaults here
because they are quicker on two cores. Prints a JSON line for each epoch and one at the end.
"""

import argparse
import json
import time
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn, optim
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader
from torchvision import datasets, models, transforms

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def loaders(data: Path, size: int, batch_size: int, workers: int) -> dict[str, DataLoader]:
    normalize = [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    random = [transforms.RandomResizedCrop(size), transforms.RandomHorizontalFlip()]
    plain = [transforms.Resize(size * 256 // 224), transforms.CenterCrop(size)]
    phases = {"train": random, "val" if (data / "val").is_dir() else "test": plain}
    return {
        phase: DataLoader(
            datasets.ImageFolder(data / phase, transforms.Compose([*steps, *normalize])),
            batch_size=batch_size,
            shuffle=True,
            num_workers=workers,
        )
        for phase, steps in phases.items()
    }


def build(arch: str, weights: Path | None, classes: int, tune: str) -> tuple[nn.Module, list[nn.Parameter]]:
    if arch == "vgg16":
        model = models.vgg16(weights=None)
        model.requires_grad_(tune == "full")
        model.classifier[6] = nn.Linear(4096, classes)
        return model, list(model.classifier[6].parameters() if tune != "full" else model.parameters())
    model = models.resnet18(weights=None, num_classes=200 if weights else 1000)
    if weights:
        model.load_state_dict(load_file(weights))
    model.requires_grad_(tune == "full")
    model.fc = nn.Linear(model.fc.in_features, classes)
    if tune == "last-stage":
        model.layer4.requires_grad_(True)
    return model, [parameter for parameter in model.parameters() if parameter.requires_grad]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--arch", default="resnet18", choices=("resnet18", "vgg16"))
    parser.add_argument("--tune", default="linear-probe", choices=("linear-probe", "last-stage", "full"))
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--workers", type=int, default=2)
    chosen = parser.parse_args()
    dataloaders = loaders(chosen.data, chosen.size, chosen.batch_size, chosen.workers)
    classes = len(dataloaders["train"].dataset.classes)
    model, parameters = build(chosen.arch, chosen.weights, classes, chosen.tune)
    criterion = nn.CrossEntropyLoss()
    optimizer = optim.SGD(parameters, lr=0.001, momentum=0.9)
    scheduler = lr_scheduler.StepLR(optimizer, step_size=7, gamma=0.1)
    best = 0.0
    for epoch in range(chosen.epochs):
        line = {"epoch": epoch + 1}
        for phase, loader in dataloaders.items():
            model.train(phase == "train")
            correct, started = 0, time.perf_counter()
            for inputs, labels in loader:
                optimizer.zero_grad()
                with torch.set_grad_enabled(phase == "train"):
                    outputs = model(inputs)
                    loss = criterion(outputs, labels)
                    if phase == "train":
                        loss.backward()
                        optimizer.step()
                correct += torch.sum(outputs.argmax(1) == labels).item()
            images = len(loader.dataset)
            line[phase] = {
                "accuracy": correct / images,
                "images_per_second": images / (time.perf_counter() - started),
            }
            if phase == "train":
                scheduler.step()
            else:
                best = max(best, correct / images)
        print(json.dumps(line), flush=True)
    print(json.dumps({"accuracy": best}))


if __name__ == "__main__":
    main()
