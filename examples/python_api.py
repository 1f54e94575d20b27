"""Fine-tune on a folder of images and use the model, in Python.

    python examples/python_api.py photos/

Without a folder it uses the digits that come with tl.
"""

import sys

import torch

import tl_toolkit as tl


def main(data: str) -> None:
    """Train a linear probe, predict, and load the weights into plain torchvision."""
    run = tl.finetune(data=data, arch="resnet18", weights="bundled", tune="linear-probe", save=("state-dict",))
    print(f"{run.path}: val accuracy {run.summary['val_accuracy']:.1%}")

    model = tl.load(run.path)
    source = tl.open_source(data)
    image = source.splits["train"].name(0)
    prediction = model.predict(image)
    print(f"{image}: {prediction.class_name} ({prediction.probability:.1%})")

    # The state_dict has torchvision's own keys.
    from torchvision.models import resnet18

    plain = resnet18(num_classes=len(model.class_names))
    plain.load_state_dict(torch.load(run.path / "state_dict.pt", weights_only=True), strict=True)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "digits")
