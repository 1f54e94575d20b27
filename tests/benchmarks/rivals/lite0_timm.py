"""timm's own training loop, everything trained, written from timm's public parts as its train.py puts them together.

train.py itself is not in timm's package; the order of calls here is its order: create_model with a new classifier,
create_optimizer_v2, whose parameter groups spare biases and norms from weight decay, create_dataset and create_loader
with its default augmentation (crops of 8 to 100 % of the area, mirroring, color jitter 0.4, interpolation by lot; the
transforms come from create_transform), label smoothing 0.1, a cosine schedule that is stepped with each update.
Mixup, CutMix, the moving average of the weights and mixed precision are off, as they are by default.

What differs from the defaults, which train from scratch for 300 epochs: AdamW at 3e-4 with weight decay 0.05 in place
of SGD, no warmup, and one validation at the end, of the last epoch's weights, in place of one after each epoch.
"""

import time

import torch
from lite0 import ARCH, BATCH_SIZE, accuracy_on, pretrained_options, print_result, read_settings
from timm import create_model
from timm.data import create_dataset, create_loader, resolve_data_config
from timm.loss import LabelSmoothingCrossEntropy
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.utils import random_seed

LEARNING_RATE = 3e-4
WEIGHT_DECAY = 0.05


def main() -> None:
    chosen = read_settings()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    random_seed(chosen.seed)
    datasets = {
        split: create_dataset("", str(chosen.data), split=split, is_training=split == "train")
        for split in ("train", "test")
    }
    classes = len(datasets["train"].reader.class_to_idx)
    model = create_model(ARCH, num_classes=classes, **pretrained_options()).to(device)
    config = resolve_data_config({"input_size": (3, chosen.size, chosen.size)}, model=model)
    common = {
        "input_size": config["input_size"],
        "batch_size": BATCH_SIZE,
        "mean": config["mean"],
        "std": config["std"],
        "num_workers": chosen.workers,
        "persistent_workers": chosen.workers > 0,
        "use_prefetcher": device.type == "cuda",
        "device": device,
    }
    train = create_loader(
        datasets["train"],
        is_training=True,
        hflip=0.5 if chosen.flip else 0.0,
        color_jitter=0.4,
        interpolation="random",
        **common,
    )
    test = create_loader(datasets["test"], interpolation=config["interpolation"], crop_pct=config["crop_pct"], **common)
    optimizer = create_optimizer_v2(model, opt="adamw", lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    scheduler, epochs = create_scheduler_v2(
        optimizer, sched="cosine", num_epochs=chosen.epochs, step_on_epochs=False, updates_per_epoch=len(train)
    )
    loss_of = LabelSmoothingCrossEntropy(smoothing=0.1)
    updates = images = 0
    started = time.perf_counter()
    for _ in range(epochs):
        model.train()
        for pixels, targets in train:
            loss = loss_of(model(pixels.to(device)), targets.to(device))
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            updates += 1
            images += len(targets)
            scheduler.step_update(num_updates=updates)
    seconds = time.perf_counter() - started
    settings = {
        "epochs": epochs,
        "optimizer": "adamw",
        "learning_rate": LEARNING_RATE,
        "weight_decay": WEIGHT_DECAY,
        "size": chosen.size,
        "precision": "float32",
    }
    print_result(accuracy_on(model, test, device), images, seconds, settings)


if __name__ == "__main__":
    main()
