"""A LeNet-5 on MNIST as beginners write it: MNIST, ToTensor, a DataLoader, one epoch. Prints a JSON line."""

import gzip
import json
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

root = Path(sys.argv[1])
with tempfile.TemporaryDirectory() as unpacked:
    raw = Path(unpacked) / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for packed in (root / "MNIST" / "raw").glob("*.gz"):  # torchvision reads no gzipped files
        (raw / packed.stem).write_bytes(gzip.decompress(packed.read_bytes()))
    dataset = datasets.MNIST(unpacked, transform=transforms.ToTensor())
model = nn.Sequential(
    *(nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
    *(nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2)),
    *(nn.Conv2d(16, 120, 5), nn.ReLU(), nn.Flatten()),
    *(nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)),
)
optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
started = time.perf_counter()
for images, targets in DataLoader(dataset, batch_size=64, shuffle=True):
    loss = nn.functional.cross_entropy(model(images), targets)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(json.dumps({"images_per_second": len(dataset) / (time.perf_counter() - started)}))
