"""model_card.md: what a model is, how it was made and how good it is, in the format of the Hugging Face Hub."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tl_toolkit.config.finetune import FinetuneConfig
from tl_toolkit.events import TRAINED
from tl_toolkit.io.files import format_count, format_seconds
from tl_toolkit.io.own_files import CONFIG_FILE
from tl_toolkit.metrics.base import METRICS, SCORE_OF
from tl_toolkit.model_file import ModelMetadata
from tl_toolkit.report.card_metadata import base_model, data_name, header
from tl_toolkit.report.card_text import percent, plain, table, without_folders
from tl_toolkit.report.card_usage import usage
from tl_toolkit.text import plural

MODEL_CARD_FILE = "model_card.md"

MOST_CLASSES, WORST_CLASSES = 50, 10
"""Classes that are listed; more are counted."""

HEADS = {
    "swap": "a new Linear layer in place of the classifier",
    "append": "a new Linear layer after the logits of the pretrained classifier",
    "mlp": "Linear, ReLU, Dropout and Linear in place of the classifier",
}

TOLD_ELSEWHERE = {"arch", "weights", "tune", "seed", "task"}
PLACES = {"data", "data_root", "image_root", "path_column", "label_column", "split_column", "group_column"}
OF_THE_MACHINE = {"device", "workers", "threads", "streaming", "download", "feature_cache", "cache_size"}
OUTPUTS = {"checkpoint_every", "tensorboard", "report", "save"}
NOT_LISTED = TOLD_ELSEWHERE | PLACES | OF_THE_MACHINE | OUTPUTS
"""Settings that do not describe how it learned, or that the card tells elsewhere."""


@dataclass(frozen=True)
class CardFacts:
    """What a model card is filled from.

    Attributes:
        metadata: Of the model.
        summary: The content of summary.json.
        images_by_class: The images of each class, by split.
        parameters: Number of weights of the network.
        hardware: What the run computed on, in words.
    """

    metadata: ModelMetadata
    summary: Mapping[str, Any]
    images_by_class: Mapping[str, Sequence[int]]
    parameters: int
    hardware: str

    @property
    def splits(self) -> list[str]:
        """The splits that the model was evaluated on."""
        return [split for split in ("val", "test") if self.summary.get(f"{split}_loss") is not None]

    @property
    def is_pretrained(self) -> bool:
        """Whether training began with the weights of another."""
        return self.metadata.training.get("weights") != "none"

    @property
    def evaluated(self) -> str:
        """The split that the results are of: test if there is one."""
        return self.splits[-1]


def model_card(facts: CardFacts) -> str:
    """Return the text of a model card, with its metadata header."""
    name = facts.metadata.architecture.partition(":")[2]
    sections = (
        ("Model description", _description(facts)),
        ("Intended use and limits", _limits(facts)),
        ("How to use it", usage(facts.metadata)),
        ("Training data", _data(facts)),
        ("Training procedure", _procedure(facts)),
        ("Evaluation", _evaluation(facts)),
        (
            "Versions",
            table(("package", "version"), [(plain(k), plain(v)) for k, v in facts.summary["versions"].items()]),
        ),
        ("For you to complete", _to_complete(facts)),
    )
    lines = [
        "---",
        header(facts.metadata, facts.summary),
        "---",
        "",
        f"# {plain(name)} on {plain(data_name(facts.summary['data']))}",
        "",
        _first_sentence(facts),
        "",
        "`tl finetune` filled in this card from its run. What it cannot know is under *For you to complete*.",
    ]
    for title, body in sections:
        lines += ["", f"## {title}", "", *body]
    return "\n".join(lines) + "\n"


def _first_sentence(facts: CardFacts) -> str:
    summary, score = facts.summary, SCORE_OF[facts.metadata.task]
    split = facts.evaluated
    count = f"{summary['classes']:,}"
    kind = {
        "multi-class": f"It tells {count} classes apart.",
        "multi-label": f"It gives an image any of {count} labels.",
        "soft": f"It gives an image shares of {count} classes.",
    }[facts.metadata.task]
    figure = f"Its {score.replace('_', ' ')} on {split} is {_with_interval(score, summary, split)}"
    return f"{kind} {figure}, measured on {plural(summary[f'{split}_images'], 'image')}."


def _description(facts: CardFacts) -> list[str]:
    metadata, summary = facts.metadata, facts.summary
    spec, stage = metadata.input_spec, summary["best_stage"]
    origin = metadata.weights
    if re.fullmatch(r"([A-Za-z]:)?[/\\].*", origin):
        origin = "the file " + re.split(r"[/\\]", origin)[-1]  # Where it was is nobody's business.
    if base := base_model(metadata):
        origin += f" ({base} on the Hub)"
    weights = [
        ("pretrained weights", origin),
        ("licence of these weights", metadata.weights_license or "not stated by their source"),
    ]
    if not facts.is_pretrained:
        weights = [("pretrained weights", "none: it was trained from random weights")]
    rows = [
        ("network", f"{metadata.architecture}, {format_count(facts.parameters)} parameters"),
        *weights,
        ("head", HEADS[metadata.head]),
        ("trained", f"{TRAINED.get(stage, stage)} ({stage}); see Training procedure"),
        ("input", f"{spec.height} x {spec.width} pixels, {plural(spec.channels, 'channel')}"),
        ("output", _output(metadata)),
    ]
    return table(("", ""), [(name, plain(value)) for name, value in rows])


def _output(metadata: ModelMetadata) -> str:
    if metadata.outputs == 1:
        return f"one logit; its sigmoid is the probability of {metadata.class_names[1]}"
    if metadata.loss == "cross-entropy":
        return f"{metadata.outputs:,} logits; their softmax is the probability of each class"
    return f"{metadata.outputs:,} logits; the sigmoid of each is the probability of its class"


def _limits(facts: CardFacts) -> list[str]:
    metadata, summary = facts.metadata, facts.summary
    names = ", ".join(map(plain, metadata.class_names[:MOST_CLASSES]))
    more = len(metadata.class_names) - MOST_CLASSES
    lines = [f"- It knows these classes: {names}{f' and {more:,} more' if more > 0 else ''}."]
    if metadata.task == "multi-label":
        lines.append(
            "- An image may get no label. It knows no others, and what it is not asked for it does not report."
        )
    else:
        lines.append(
            '- There is no "none of these": an image of anything else gets one of these classes too, perhaps at 100 %.'
        )
    if metadata.novelty:
        lines.append(
            "- `tl predict` marks images unlike those of training as unknown: not all of them, and some that are not. "
            f"On val it marked {metadata.novelty.flagged:,} of {plural(metadata.novelty.val_images, 'image')}."
        )
    lines.append(
        "- The figures below hold for images like those they were measured on. For other cameras, places, times or "
        "people they are unknown: measure them with `tl evaluate` on labelled images of your own."
    )
    if facts.evaluated == "val":
        lines.append(
            "- There was no test split. The figures are of val, by which the best weights were chosen: on new images "
            "of the same kind they may be somewhat worse."
        )
    lines += [f"- {plain(without_folders(message, summary['data']))}" for message in summary.get("warnings", ())]
    return lines


def _data(facts: CardFacts) -> list[str]:
    summary, names = facts.summary, facts.metadata.class_names
    lines = [f"Images: {plain(data_name(summary['data']))}, {_split_sizes(facts)}.", ""]
    splits = list(facts.images_by_class)
    rows = [
        (plain(name), *(f"{facts.images_by_class[split][index]:,}" for split in splits))
        for index, name in enumerate(names[:MOST_CLASSES])
    ]
    lines += table(("class", *splits), rows, numbers=len(splits))
    if (more := len(names) - MOST_CLASSES) > 0:
        sizes = [
            f"- In {split}, a class has {min(n):,} to {max(n):,} images." for split, n in facts.images_by_class.items()
        ]
        lines += ["", f"The header of the model file names {more:,} more.", "", *sizes]
    return [*lines, "", *_faults(summary)]


def _split_sizes(facts: CardFacts) -> str:
    sizes = [
        f"{facts.summary[f'{split}_images']:,} {split}"
        for split in ("train", "val", "test")
        if facts.summary[f"{split}_images"]
    ]
    return ", ".join(sizes)


def _faults(summary: Mapping[str, Any]) -> list[str]:
    """Return what is known of unreadable images, copies and leaks."""
    lines = []
    for split in ("val", "test"):
        seen, images = summary.get(f"{split}_images_seen"), summary[f"{split}_images"]
        if not images:
            continue
        if seen is None:
            lines.append(f"- Whether images of {split} are among those that it learned from is not known.")
        else:
            of = f"{seen:,} of the {plural(images, 'image')} of {split}" if seen else f"No image of {split}"
            lines.append(f"- {of} {'are' if seen > 1 else 'is'} among those that it learned from, by content.")
    for key, what in (
        ("bad_images", "cannot be read and was left out"),
        ("dropped_images", "is a copy and was left out"),
    ):
        if count := len(summary[key]):
            several = what.replace("is a copy and was", "are copies and were").replace("and was", "and were")
            lines.append(f"- {plural(count, 'image')} {what if count == 1 else several}: see bad\\_images.csv.")
    if not summary["bad_images"]:
        lines.append("- Every image could be read.")
    return lines


def _procedure(facts: CardFacts) -> list[str]:
    metadata, summary = facts.metadata, facts.summary
    score = SCORE_OF[metadata.task]
    again = ", then solved once more on train and val together" if summary["refit_on_val"] else ""
    rows = [
        ("tune", summary["tune"]),
        ("kept", f"{summary['best_stage']}, epoch {summary['best_epoch']}, by val{again}"),
        ("loss", summary["loss"]),
        ("seed", summary["seed"]),
        ("precision", summary["precision"]),
        ("hardware", facts.hardware),
        ("time", format_seconds(summary["seconds"])),
        ("energy", "not measured"),
    ]
    lines = table(("", ""), [(name, plain(value)) for name, value in rows])
    stages = [
        (stage, TRAINED.get(stage, ""), percent(best[f"val_{score}"]), f"{best['epoch']:g}")
        for stage, best in summary["stages"].items()
    ]
    lines += ["", *table(("stage", "trains", f"best {score.replace('_', ' ')} on val", "at epoch"), stages, numbers=2)]
    lines += ["", "Settings that differ from the default:", ""] if (settings := _settings(metadata)) else []
    lines += table(("setting", "value"), settings) if settings else ["", "All settings are the defaults."]
    return [*lines, "", f"`tl finetune --config {CONFIG_FILE}` trains it again, with the same images."]


def _settings(metadata: ModelMetadata) -> list[tuple[str, str]]:
    """Return the settings of learning that are not the default."""
    defaults = FinetuneConfig().to_dict()
    return [
        (plain(name), plain(value))
        for name, value in metadata.training.items()
        if name not in NOT_LISTED and name in defaults and value != defaults[name]
    ]


def _evaluation(facts: CardFacts) -> list[str]:
    summary = facts.summary
    rows = [("images", *(f"{summary[f'{split}_images']:,}" for split in facts.splits))]
    for name in ("loss", *METRICS):
        if all(isinstance(summary.get(f"{split}_{name}"), int | float) for split in facts.splits):
            label = "loss" if name == "loss" else METRICS.get(name).label
            rows.append((plain(label), *(_with_interval(name, summary, split) for split in facts.splits)))
    lines = table(("", *facts.splits), rows, numbers=len(facts.splits))
    if any(summary.get(f"{split}_intervals") for split in facts.splits):
        lines += ["", "In brackets: the 95 % confidence interval."]
    return [*lines, *_worst_classes(facts), "", _calibration(facts.metadata)]


def _worst_classes(facts: CardFacts) -> list[str]:
    """Return the classes with the lowest accuracy, or the labels with the lowest average precision."""
    key, what = ("average_precision", "label") if facts.metadata.task == "multi-label" else ("class_accuracy", "class")
    found = facts.summary.get(f"{facts.evaluated}_{key}") or {}
    names = sorted((name for name in found if found[name] < 1), key=lambda name: float(found[name]))[:WORST_CLASSES]
    if not names:
        return []
    counts = dict(zip(facts.metadata.class_names, facts.images_by_class[facts.evaluated], strict=True))
    rows = [(plain(name), f"{counts[name]:,}", percent(found[name])) for name in names]
    figure = "average precision" if what == "label" else "accuracy"
    listed = table((what, "images", figure), rows, numbers=2)
    return ["", f"Those it does worst on, of {len(found):,}, on {facts.evaluated}:", "", *listed]


def _calibration(metadata: ModelMetadata) -> str:
    if metadata.temperature == 1:
        return "Probabilities are not calibrated (temperature 1)."
    divided = f"logits are divided by {metadata.temperature:.3f} before they become probabilities"
    return (
        f"Probabilities are calibrated on val: {divided}. Figures of probabilities on val itself are too good for it."
    )


def _to_complete(facts: CardFacts) -> list[str]:
    known = facts.metadata.weights_license
    licence = (
        f": that of the pretrained weights is {plain(known) if known else 'not known'}" if facts.is_pretrained else ""
    )
    return [
        "- Who made the model, and who answers questions about it",
        "- What it is meant for, and what it must not be used for",
        "- Where the images are from, who labelled them, their licence, and whether people in them agreed",
        f"- The licence of this model{licence}",
        "- Groups, places or conditions in which it does worse",
    ]


def _with_interval(name: str, summary: Mapping[str, Any], split: str) -> str:
    """Return a figure with its interval: 95.4 % (91 to 98 %), 0.123 (0.100 to 0.150)."""
    value = summary[f"{split}_{name}"]
    shape = "number" if name == "loss" else METRICS.get(name).format
    interval = (summary.get(f"{split}_intervals") or {}).get(name)
    if shape == "percent":
        return percent(value) + (f" ({interval[0] * 100:.0f} to {interval[1] * 100:.0f} %)" if interval else "")
    shown = f"{value:,}" if shape == "count" else f"{value:.3f}"
    return shown + (f" ({interval[0]:.3f} to {interval[1]:.3f})" if interval else "")
