"""The words of a report: what was trained from what on what, what the data are, and how to use the model."""

import datetime
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tl_toolkit.data.sources.names import PYTHON_PREFIX
from tl_toolkit.events import TRAINED
from tl_toolkit.io.files import format_seconds
from tl_toolkit.io.own_files import CONFIG_FILE, MODEL_FILE
from tl_toolkit.report.content import Figure
from tl_toolkit.runs.imported import is_imported
from tl_toolkit.runs.report_material import RunMaterial
from tl_toolkit.text import join_names, plural

HEADS = {
    "swap": "a new linear layer in place of the classifier",
    "append": "a new linear layer after the classifier",
    "mlp": "two new layers in place of the classifier",
}

FEW_CLASSES = 8
"""So many classes are listed with their sizes."""


def title_of(material: RunMaterial) -> str:
    """Return the title: the network and the data."""
    data = material.data
    short = data.removeprefix(PYTHON_PREFIX) if ":" in data else Path(data).name
    return f"{_network_name(material)} on {short or 'unknown data'}"


def _network_name(material: RunMaterial) -> str:
    return material.metadata.architecture.partition(":")[2] or material.metadata.architecture


def sentence_of(material: RunMaterial, headline: Figure) -> str:
    """Return the result in a sentence, with its interval."""
    if headline.value is None:
        return "Nothing says how well the model does."
    split, images = material.split, material.metrics.images if material.metrics else 0
    figure, interval = percent(headline.value), ""
    if headline.low is not None and headline.high is not None:
        interval = f" (95 % interval {100 * headline.low:.0f} to {100 * headline.high:.0f} %)"
    if headline.label != "accuracy":
        result = f"The mean average precision on {images:,} {split} images is {figure}{interval}."
    elif images:
        right = f"{round(headline.value * images):,} of {images:,} {split} images"
        result = f"The model is right for {right}: {figure}{interval}."
    else:
        result = f"The best accuracy on {split} while training is {figure}."
    if is_imported(material.folder):
        return f"{result} It was imported: nothing is known of the images that it learned from."
    if not material.summary:
        return f"{result} The run is not finished: this is its best model so far."
    if split == "val":
        return f"{result} The weights were chosen by these images, so on new ones it may do a little worse."
    return result


def percent(share: float) -> str:
    """Return a share as text, such as "95.4 %"."""
    return f"{100 * share:.1f} %"


def facts_of(material: RunMaterial) -> list[tuple[str, str]]:
    """Return what was trained from what on what."""
    metadata, summary, settings = material.metadata, material.summary, material.settings
    spec = metadata.input_spec
    rows = [
        ("network", metadata.architecture),
        ("weights", metadata.weights),
        ("licence of the weights", metadata.weights_license or "not known"),
        ("data", str(settings.get("data", "not known"))),
        ("classes", _classes(material)),
        ("input", f"{spec.width} × {spec.height} pixels, {'colour' if spec.channels == 3 else 'grayscale'}"),
        ("head", HEADS.get(metadata.head, metadata.head)),
        ("loss", metadata.loss),
        ("tune", str(settings.get("tune", ""))),
        ("kept", _kept(summary)),
        ("seed", str(settings.get("seed", ""))),
        ("device", _device(summary)),
        ("time", format_seconds(summary["seconds"]) if "seconds" in summary else ""),
        ("written", _date(material.folder)),
        ("run", material.folder.absolute().name),
    ]
    return [(name, value) for name, value in rows if value]


def _classes(material: RunMaterial) -> str:
    names = material.class_names
    kind = {"multi-label": "labels, any number of them for an image", "soft": "classes, of which an image has shares"}
    return f"{len(names):,} {kind.get(material.metadata.task, 'classes')}: {join_names(names, FEW_CLASSES)}"


def _kept(summary: Mapping[str, Any]) -> str:
    if "best_stage" not in summary:
        return ""
    again = ", then the head solved once more on train and val together" if summary.get("refit_on_val") else ""
    stage = summary["best_stage"]
    return f"{stage} ({TRAINED.get(stage, 'trained')}), epoch {summary['best_epoch']}{again}"


def _device(summary: Mapping[str, Any]) -> str:
    if "device" not in summary:
        return ""
    threads = f", {plural(summary['threads'], 'thread')}" if "threads" in summary else ""
    return f"{summary['device']}, {summary.get('precision', '')}{threads}"


def _date(folder: Path) -> str:
    try:
        changed = (folder / MODEL_FILE).stat().st_mtime
    except OSError:
        return ""
    return f"{datetime.datetime.fromtimestamp(changed).astimezone():%Y-%m-%d %H:%M}"


def data_of(material: RunMaterial) -> list[tuple[str, str]]:
    """Return facts of the data, as far as the run noted them."""
    summary = material.summary
    rows = [("images", _split_sizes(summary)), ("val", summary.get("val_origin", ""))]
    for split, counts in (summary.get("images_by_class") or {}).items():
        rows.append((f"classes of {split}", _class_sizes(counts)))
    rows += _image_facts(summary.get("image_facts") or {})
    if summary:
        bad, dropped = summary.get("bad_images", []), summary.get("dropped_images", [])
        rows.append(("could not be read", _count(len(bad), "left out; see bad_images.csv")))
        rows.append(("copies left out", _count(len(dropped), "see bad_images.csv")))
        rows += [
            (f"{split} images that it learned from", seen)
            for split in ("val", "test")
            if (seen := _seen(summary, split))
        ]
    return [(name, value) for name, value in rows if value]


def _split_sizes(summary: Mapping[str, Any]) -> str:
    sizes = [(split, summary.get(f"{split}_images")) for split in ("train", "val", "test")]
    return ", ".join(f"{split} {count:,}" for split, count in sizes if count)


def _class_sizes(counts: Mapping[str, int]) -> str:
    """Return the sizes of classes, the largest first; of many, the largest and the smallest."""
    ranked = sorted(counts.items(), key=lambda item: -item[1])
    if not ranked:
        return ""
    if len(ranked) <= FEW_CLASSES:
        return ", ".join(f"{name} {count:,}" for name, count in ranked)
    (most, high), (least, low) = ranked[0], ranked[-1]
    empty = sum(not count for _, count in ranked)
    without = f"; {empty:,} have no image" if empty else ""
    return f"from {low:,} ({least}) to {high:,} ({most}) images{without}"


def _image_facts(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    if not facts:
        return []
    rows = []
    for side, (low, middle, high) in facts["sizes"].items():
        spread = (
            f"from {low:,.0f} to {high:,.0f} pixels, the median {middle:,.0f}" if low < high else f"{low:,.0f} pixels"
        )
        rows.append((side, spread))
    return [*rows, ("modes", ", ".join(f"{mode} {count:,}" for mode, count in facts["modes"].items()))]


def _count(count: int, note: str) -> str:
    return f"{plural(count, 'image')}, {note}" if count else "none"


def _seen(summary: Mapping[str, Any], split: str) -> str:
    seen = summary.get(f"{split}_images_seen")
    if seen is None or not summary.get(f"{split}_images"):
        return ""
    return f"{seen:,} of {plural(summary[f'{split}_images'], 'image')}" if seen else "none"


def commands_of(material: RunMaterial) -> list[tuple[str, str]]:
    """Return how to train the model again and how to use it."""
    run, data = shlex.quote(str(material.folder)), material.data
    threads = material.summary.get("threads")
    config = shlex.quote(str(material.folder / CONFIG_FILE))
    train = f"tl finetune --config {config} --threads {threads}" if threads else f"tl finetune --config {config}"
    rows = []
    if data.startswith(PYTHON_PREFIX):
        script = (
            "import yaml\nimport tl_toolkit as tl\n\n"
            f"settings = yaml.safe_load(open({str(material.folder / CONFIG_FILE)!r}))\n"
            "tl.finetune(tl.FinetuneConfig.from_values(settings), data=dataset)"
        )
        rows.append(("Train it again, in Python with the same dataset", script))
    else:
        rows.append(("Train it again: on a CPU like this one, to the same bits", train))
    return [
        *rows,
        ("Name the classes of images", f"tl predict --model {run} IMAGE"),
        ("See what in an image speaks for its class", f"tl predict --model {run} IMAGE --explain map.png"),
        ("Evaluate it on other labelled images", f"tl evaluate --model {run} DATA"),
        ("Export plain PyTorch weights", f"tl export {run} --to state-dict --out model.pt"),
        ("Use it in Python", _snippet(material)),
    ]


def _snippet(material: RunMaterial) -> str:
    result = "prediction.class_name, prediction.probability"
    if material.metadata.task == "multi-label":
        result = "[label.class_name for label in prediction.labels]"
    return (
        "import tl_toolkit as tl\n\n"
        f"model = tl.load({str(material.folder)!r})\n"
        'prediction = model.predict("image.jpg")\n'
        f"print({result})"
    )
