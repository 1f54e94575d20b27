"""The training loop of timm's train.py on a folder of images, for its speed alone.

timm's own loader with its default augmentation, AdamW, bf16 autocast and channels_last as its --amp, --amp-dtype
bfloat16 and --channels-last do; train.py itself is not in timm's package. Prints the images per second after the first
epoch, as JSON.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import torch
from timm import create_model
from timm.data import create_dataset, create_loader
from timm.optim import create_optimizer_v2


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--arch", required=True)
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--batch-size", type=int, required=True)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--device", required=True)
    parser.add_argument("--steps", type=int, help="of an epoch, if not all")
    chosen = parser.parse_args()
    device = torch.device(chosen.device)
    dataset = create_dataset("", str(chosen.data), split="train", is_training=True)
    loader = create_loader(
        dataset,
        input_size=(3, chosen.size, chosen.size),
        batch_size=chosen.batch_size,
        is_training=True,
        hflip=0.5,
        color_jitter=0.4,
        interpolation="random",
        num_workers=chosen.workers,
        persistent_workers=chosen.workers > 0,
        use_prefetcher=device.type == "cuda",
        device=device,
    )
    options = {"img_size": chosen.size} if chosen.arch.startswith("vit") else {}
    model = create_model(chosen.arch, num_classes=len(dataset.reader.class_to_idx), **options)
    model.to(device, memory_format=torch.channels_last)
    optimizer = create_optimizer_v2(model, opt="adamw", lr=1e-4, weight_decay=0.05)
    speeds = []
    for _ in range(chosen.epochs):
        model.train()
        images, started = 0, time.perf_counter()
        for step, (pixels, targets) in enumerate(loader):
            if step == chosen.steps:
                break
            inputs = pixels.to(device, memory_format=torch.channels_last)
            with torch.autocast(device.type, torch.bfloat16):
                loss = torch.nn.functional.cross_entropy(model(inputs), targets.to(device))
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            images += len(targets)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        speeds.append(images / (time.perf_counter() - started))
    print(json.dumps({"images_per_second": statistics.median(speeds[1:] or speeds)}))


if __name__ == "__main__":
    main()
