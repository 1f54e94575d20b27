"""README.md of a model repository: the model card of the run, with how to load the model from the Hugging Face Hub."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from tl_toolkit.errors import ToolkitError
from tl_toolkit.io.files import format_count
from tl_toolkit.model_file import ModelMetadata
from tl_toolkit.report.card_metadata import license_of
from tl_toolkit.report.card_text import percent, plain, table
from tl_toolkit.report.card_usage import probabilities_code, usage

HEADER = re.compile(r"---\n(?P<yaml>.*?)\n---\n(?P<body>.*)", re.DOTALL)
USAGE, OF_THE_HUB = "## How to use it", "## How to load it from the Hub"
"""The heading of a card's section that is replaced where timm loads the model; else another goes before it."""

MOST_CLASSES = 50


def hub_card(
    card: str,
    trained: ModelMetadata,
    published: ModelMetadata,
    repository: str,
    for_timm: bool,
    notes: Sequence[str] = (),
) -> str:
    """Return a model card for a repository.

    Args:
        card: A model card in the Hub's format.
        trained: Metadata of the model that the card is of.
        published: Those of the model in the repository.
        repository: "ORG/NAME".
        for_timm: Whether timm can load it.
        notes: Sentences on what is not as it was trained.

    Raises:
        ToolkitError: The header of the card is no YAML.
    """
    header, body = _parts(card)
    library = "timm" if for_timm else "tl_toolkit"
    tags = header.get("tags") or []
    kept = [tag for tag in tags if tag not in ("timm", "tl_toolkit")] if isinstance(tags, list) else []
    # The Hub shows the code of this library beside the model.
    header |= {"library_name": library, "tags": [*kept, *(["timm"] if for_timm else []), "tl_toolkit"]}
    section = "\n".join(_usage(published, repository, for_timm, notes))
    # The code in the card is for the weights as they were trained; timm's may have other names.
    own = "\n".join([f"\n{USAGE}", "", *usage(trained)])
    if for_timm and own in body:
        text = body.replace(own, f"\n{USAGE}\n\n{section}", 1)
    else:
        before, heading, after = body.partition(f"\n{USAGE}\n")
        text = f"{before.rstrip()}\n\n{OF_THE_HUB}\n\n{section}\n{heading}{after}"
    return f"---\n{yaml.safe_dump(header, sort_keys=False, allow_unicode=True, width=1000)}---\n{text}"


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


def _usage(metadata: ModelMetadata, repository: str, for_timm: bool, notes: Sequence[str]) -> list[str]:
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
    said = ["", *(f"- {note}" for note in notes)] if notes else []
    if not for_timm:
        return [*ours, *said]
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
        "tl reads large JPEG files at a reduced size, so its probabilities may differ slightly from timm's.",
        "",
        *ours,
        *said,
    ]
