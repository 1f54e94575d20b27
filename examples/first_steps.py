# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # First steps: from a tensor to the name of a photo
#
# Everything here runs offline on a laptop in about a minute. Each step is shown twice: in plain PyTorch, so that you
# see what happens, and with `tl`, which does the same with fewer ways to get it wrong.
#
# Set `PHOTO` to an image of your own; if it is empty, a digit is used that the network has not seen.

# %%
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision.transforms import v2

import tl_toolkit as tl

PHOTO = ""

# %% [markdown]
# ## 1. An image is a tensor
#
# `open_source` reads a folder with a subfolder for each class, or a dataset by its name: here the handwritten digits
# that come with `tl`. An image becomes a tensor of shape (channels, height, width) with values between 0 and 1.

# %%
source = tl.open_source("digits")
train = source.split("train")
image = train.open(0, channels=1)
to_tensor = v2.Compose([v2.Resize((28, 28)), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
tensor = to_tensor(image)
print("classes:", source.class_names)
print("shape:", tuple(tensor.shape), "values:", tensor.min().item(), "to", tensor.max().item())

# %% [markdown]
# ## 2. Many images are a Dataset
#
# A Dataset returns an image and its target by index; a DataLoader makes shuffled batches of them. `tl.ImageDataset`
# opens files of any kind, turns them upright and converts them to grayscale or colour. Your own class with `__len__`
# and `__getitem__` works as well.

# %%
dataset = tl.ImageDataset(train, to_tensor, channels=1)
loader = DataLoader(dataset, batch_size=64, shuffle=True, generator=torch.Generator().manual_seed(0))
images, targets = next(iter(loader))
print("a batch:", tuple(images.shape), "targets:", targets[:8].tolist())

# %% [markdown]
# ## 3. A network turns images into logits
#
# LeNet-5 has ten logits here, one for each class; the largest one is the answer. Before training it guesses.

# %%
torch.manual_seed(0)
network = tl.build_model("lenet5", classes=10, weights="none")
logits = network(images)
print("logits:", tuple(logits.shape), "right:", (logits.argmax(dim=1) == targets).float().mean().item())

# %% [markdown]
# ## 4. Training makes the loss smaller
#
# One pass over the images: logits, loss, gradients, a step of the optimizer. Every tutorial begins with this loop.

# %%
optimizer = torch.optim.Adam(network.parameters(), lr=0.002)
criterion = nn.CrossEntropyLoss()
network.train()
for images, targets in loader:
    loss = criterion(network(images), targets)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
print("loss of the last batch:", round(loss.item(), 3))

# %% [markdown]
# `tl.finetune` adds what this loop lacks: a val split, the best weights, and a folder that explains itself. First it
# trains the same network from scratch, then a ResNet18 that has already learned from other images. That is transfer
# learning: only the new head is trained, and a few seconds are enough.

# %%
scratch = tl.finetune(
    arch="lenet5",
    weights="none",
    tune="full",
    data="digits",
    lr=0.003,
    epochs=15,
    augment="pad-crop",
    label_smoothing=0,
)
transfer = tl.finetune(arch="resnet18", weights="bundled", tune="linear-probe", data="digits")
for run in (scratch, transfer):
    print(f"{run.path}: test accuracy {run.summary['test_accuracy']:.1%}, {run.summary['seconds']:.0f} s")

# %% [markdown]
# The folder holds `curves.png`, the settings and the metrics of every epoch.

# %%
print(sorted(path.name for path in transfer.path.iterdir()))

# %% [markdown]
# ## 5. Saving, both ways
#
# A *state_dict* holds only the tensors: to load it, build the network first. A *full model* holds the network too, but
# it is a pickle, which can run any code when it is loaded: load only your own. `model.safetensors` in the run folder
# holds the tensors, the class names and the preprocessing, and runs no code.

# %%
model = tl.load(transfer.path)
torch.save(model.module.state_dict(), "state_dict.pt")
torch.save(model.module, "full_model.pt")

rebuilt = tl.build_model("resnet18", classes=10, weights="none")
rebuilt.load_state_dict(torch.load("state_dict.pt", weights_only=True))
whole = torch.load("full_model.pt", weights_only=False)
example = torch.rand(1, 3, 64, 64)
with torch.no_grad():
    difference = (rebuilt.eval()(example) - whole.eval()(example)).abs().max()
print("largest difference of the logits:", difference.item())

# %% [markdown]
# ## 6. Your own photo
#
# `predict` prepares the photo exactly like the training images.

# %%
photo = Path(PHOTO) if PHOTO else Path(source.split("test").name(0))
prediction = model.predict(photo)
for each in prediction.top_k[:3]:
    print(f"{each.class_name}: {each.probability:.1%}")
