"""README.md of a model repository: the model card of the run, with how to load the model from the Hugging Face Hub."""

import re
from collections.abc import Mapping
from typing import Any

import yaml

from tl_toolkit.errors import ToolkitError
from tl_toolkit.io.files import format_count
from tl_toolkit.model_file import ModelMetadata
from tl_toolkit.report.card_metadata import license_of
from tl_toolkit.report.card_text import percent, plain, table
from tl_toolkit.report.card_usage import probabilities_code

HEADER = re.compile(r"---\n(?P<yaml>.*?)\n---\n(?P<body>.*)", re.DOTALL)
USAGE = "## How to use it"
"""The heading of a model card before which the new section goes."""

MOST_CLASSES = 50


def hub_card(card: str, metadata: ModelMetadata, repository: str, for_timm: bool) -> str:
    """Return a model card for a repository.

    Args:
        card: A model card in the Hub's format.
        metadata: Of the model.
        repository: "ORG/NAME".
        for_timm: Whether timm can load the model.

    Raises:
        ToolkitError: The header of the card is no YAML.
    """
    header, body = _parts(card)
    library = "timm" if for_timm else "tl_toolkit"
    tags = header.get("tags") or []
    kept = [tag for tag in tags if tag not in ("timm", "tl_toolkit")] if isinstance(tags, list) else []
    # The Hub shows the code of this library beside the model.
    header |= {"library_name": library, "tags": [*kept, *(["timm"] if for_timm else []), "tl_toolkit"]}
    section = "\n".join(["## From the Hugging Face Hub", "", *_usage(metadata, repository, for_timm)])
    before, heading, after = body.partition(f"\n{USAGE}\n")
    joined = f"{before.rstrip()}\n\n{section}\n{heading}{after}"
    return f"---\n{yaml.safe_dump(header, sort_keys=False, allow_unicode=True, width=1000)}---\n{joined}"


def short_card(metadata: ModelMetadata, parameters: int) -> str:
    """Return a model card of what a model file alone tells, for a model without its run.

    Args:
        metadata: Of the model.
        parameters: Number of weights of the network.
    """
    spec, names = metadata.input_spec, metadata.class_names
    header: dict[str, Any] = {"pipeline_tag": "image-classification", "tags": ["image-classification"]}
    licence, licence_name = license_of(metadata.weights_license)
    header |= {"license": licence} if licence else {}
    header |= {"license_name": licence_name} if licence_name else {}
    more = f" and {len(names) - MOST_CLASSES:,} more" if len(names) > MOST_CLASSES else ""
    rows = [
        ("network", f"{metadata.architecture}, {format_count(parameters)} parameters"),
        ("pretrained weights", metadata.weights or "not known"),
        ("input", f"{spec.height} x {spec.width} pixels"),
        ("classes", ", ".join(names[:MOST_CLASSES]) + more),
    ]
    measured = metadata.metrics.items()
    rows += [
        (name.replace("_", " "), percent(value))
        for name, value in measured
        if name.endswith("accuracy") and isinstance(value, float)
    ]
    lines = [
        f"# {plain(metadata.architecture.partition(':')[2])}",
        "",
        *table(("", ""), [(n, plain(v)) for n, v in rows]),
    ]
    return f"---\n{yaml.safe_dump(header, sort_keys=False)}---\n" + "\n".join(lines) + "\n"


def _parts(card: str) -> tuple[dict[str, Any], str]:
    """Return header and body of a model card.

    Raises:
        ToolkitError: The header is no YAML.
    """
    if not (found := HEADER.match(card.replace("\r\n", "\n"))):
        return {}, card
    try:
        header = yaml.safe_load(found["yaml"]) or {}
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f" (line {where.line + 2})" if where else ""
        raise ToolkitError(
            f"The header of the model card, between its lines ---, is no YAML{line}. Correct it."
        ) from error
    if not isinstance(header, Mapping):
        raise ToolkitError("The header of the model card, between its lines ---, must have lines `name: value`.")
    return dict(header), found["body"]


def _usage(metadata: ModelMetadata, repository: str, for_timm: bool) -> list[str]:
    """Return the lines of the section."""
    folder = repository.partition("/")[2]
    ours = [
        "With tl_toolkit, whose preprocessing, probabilities and class names are those of the training:",
        "",
        "```sh",
        f"hf download {repository} --local-dir {folder}",
        f"tl predict --model {folder} IMAGE",
        "```",
    ]
    if not for_timm:
        return [*ours, "", "Other libraries have no such network: `tl export` writes it for PyTorch or ONNX Runtime."]
    channels = "RGB" if metadata.input_spec.channels == 3 else "L"
    return [
        "With timm alone:",
        "",
        "```python",
        "import timm",
        "import torch",
        "from PIL import Image, ImageOps",
        "",
        f'model = timm.create_model("hf-hub:{repository}", pretrained=True).eval()',
        "transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))",
        f'image = ImageOps.exif_transpose(Image.open("image.jpg")).convert("{channels}")',
        "with torch.inference_mode():",
        f"    probabilities = {probabilities_code(metadata)}",
        'for name, probability in zip(model.pretrained_cfg["label_names"], probabilities.tolist()):',
        '    print(f"{name}: {probability:.1%}")',
        "```",
        "",
        *ours,
    ]
