"""Collecting what a report shows from what is known of a run."""

from collections.abc import Mapping, Sequence

from tl_toolkit.events import TRAINED, EvalRecord
from tl_toolkit.metrics.base import SCORE_OF
from tl_toolkit.metrics.calibration import calibration_error, coverage_curve, reliability_bins
from tl_toolkit.metrics.predictions import Predictions
from tl_toolkit.report.content import MAX_DRAWN, Calibration, Confusion, Epoch, Figure, Gallery, MapPoint, ReportContent
from tl_toolkit.report.feature_map import ABOUT as ABOUT_MAP
from tl_toolkit.report.galleries import SplitImages, cell_places, confusion_of, short_names
from tl_toolkit.report.pictures import Pictures
from tl_toolkit.report.tables import MAX_ROWS, SCORE_NAMES, class_table
from tl_toolkit.runs.report_facts import commands_of, data_of, facts_of, sentence_of, title_of
from tl_toolkit.runs.report_galleries import MORE_TIME, Drawer, suspicious_gallery, suspicious_places
from tl_toolkit.runs.report_material import RunMaterial
from tl_toolkit.system.versions import package_versions
from tl_toolkit.text import plural
from tl_toolkit.training.plan import best_records

MAX_EPOCHS = 400
"""Evaluations that curves are drawn from; more would be closer together than pixels."""

MAX_POINTS = 2_000
"""Images on the map of the features."""

Missing = list[tuple[str, str]]


def collect(material: RunMaterial, pictures: Pictures, drawer: Drawer) -> ReportContent:
    """Return what the report of a run shows.

    Args:
        material: What is known of the run.
        pictures: Reads the pictures.
        drawer: Draws the heat maps.
    """
    missing: Missing = list(material.missing)
    headline = _headline(material)
    table = class_table(material.metrics, material.class_names, _train_images(material)) if material.metrics else None
    if table is None:
        why = "the run did not note them, and its images are not at hand"
        if material.metadata.task == "soft":
            why = "an image has shares of the classes, not one class"
        missing.append(("figures of each class", why))
    elif table.left_out:
        listed = f"the {MAX_ROWS:,} worst of {len(material.class_names):,} are listed; `tl evaluate --json` has all"
        missing.append(("other classes", listed))
    images = _split_images(material, missing)
    confusion, galleries = _images(material, images, pictures, drawer, missing)
    return ReportContent(
        title=title_of(material),
        sentence=sentence_of(material, headline),
        headline=headline,
        split=_split_text(material),
        facts=facts_of(material),
        figures=material.metrics.figures() if material.metrics else (),
        class_columns=table.columns if table else (),
        classes=table.rows if table else (),
        score_name=material.records[0].score_name if material.records else "accuracy",
        epochs=_epochs(material),
        stages=_stages(material.records),
        confusion=confusion,
        calibration=_calibration(images, missing),
        galleries=galleries,
        map_points=_map_points(images, missing),
        map_about=ABOUT_MAP[material.projection] if images else "",
        data=data_of(material),
        warnings=[*material.warnings, *material.summary.get("warnings", ())],
        config=material.config,
        versions=material.metadata.versions or package_versions(),
        commands=commands_of(material),
        missing=missing,
    )


def _headline(material: RunMaterial) -> Figure:
    """Return the figure that the run is judged by; without any scores, that of its best evaluation on val."""
    if material.metrics:
        return material.metrics.headline
    best = list(best_records(material.records).values())
    value = max((record.score for record in best), default=None)
    return Figure(SCORE_NAMES[SCORE_OF[material.metadata.task]], value)


def _split_text(material: RunMaterial) -> str:
    return f"{material.split}, {material.metrics.images:,} images" if material.metrics else material.split


def _train_images(material: RunMaterial) -> Mapping[str, int]:
    """Return how many images of each class the model learned from; empty where that is not known."""
    counts: Mapping[str, int] = (material.summary.get("images_by_class") or {}).get("train", {})
    return counts


def _split_images(material: RunMaterial, missing: Missing) -> SplitImages | None:
    """Return the predictions of the split; without any, say that nothing can be shown that needs them."""
    predictions, metadata = material.predictions, material.metadata
    if predictions is None or not len(predictions):
        return None
    if unknown := int((~predictions.logits.isfinite().all(dim=1)).sum()):
        missing.append((f"{unknown:,} of the images", "their logits are not finite; they are in no list"))
    names = short_names(predictions.names)
    temperature = metadata.temperature
    return SplitImages(material.split, predictions, metadata.class_names, temperature, metadata.thresholds, names)


def _images(
    material: RunMaterial, images: SplitImages | None, pictures: Pictures, drawer: Drawer, missing: Missing
) -> tuple[Confusion | None, list[Gallery]]:
    """Read the pictures, the most useful first, and return what shows them."""
    suspicious = suspicious_places(material, missing)
    mistakes = images.mistakes() if images else []
    uncertain = images.uncertain() if images else []
    cells = images.cells() if images and images.predictions.task != "multi-label" else {}
    pictures.read((material.split, index) for index in mistakes)
    pictures.read(place for _, place in suspicious if place)
    pictures.read(cell_places(material.split, cells))
    pictures.read((material.split, index) for index in uncertain)
    maps = drawer.draw(material, mistakes, pictures)
    galleries = []
    if images:
        shown = [images.describe(index, pictures, maps.get(index)) for index in mistakes]
        galleries.append(Gallery("Most confident mistakes", _about_mistakes(drawer), shown, "The model makes none."))
        unsure = [images.describe(index, pictures) for index in uncertain]
        about = "Where two classes are closest: images to label, or to look at twice."
        if images.predictions.task == "multi-label":
            about = "Whose labels are closest to even chances: images to label, or to look at twice."
        galleries.append(Gallery("Least certain", about, unsure))
    if (labels := suspicious_gallery(material, suspicious, pictures)) is not None:
        galleries.append(labels)
    missing += drawer.missing()
    missing += [
        (f"pictures of {plural(count, 'image')}", f"each {reason}") for reason, count in pictures.problems.items()
    ]
    if pictures.no_room:
        missing.append((f"pictures of {plural(pictures.no_room, 'image')}", "there was no room for them"))
    if pictures.no_time:
        missing.append((f"pictures of {plural(pictures.no_time, 'image')}", f"there was no time for them; {MORE_TIME}"))
    if not images:
        return None, galleries
    if images.predictions.task == "multi-label":
        missing.append(("confusion matrix", "an image may have several labels, so it has no cell of its own"))
        return None, galleries
    if not images.is_drawn:
        most = f"{len(images.class_names):,} classes are too many to draw, the limit is {MAX_DRAWN}"
        missing.append(("confusion matrix", f"{most}; the most frequent mistakes are listed"))
    return confusion_of(images, cells, pictures), galleries


def _about_mistakes(drawer: Drawer) -> str:
    about = "The surest first. Look for wrong labels, and for what the images have in common."
    return f"{about} Heat maps ({drawer.method}) show what speaks for the predicted class." if drawer.method else about


def _calibration(images: SplitImages | None, missing: Missing) -> Calibration | None:
    if images is None:
        return None
    predictions, temperature = images.predictions, images.temperature
    if predictions.task == "multi-label":
        missing.append(("calibration", "each label has a probability of its own"))
        return None
    return Calibration(
        temperature,
        reliability_bins(predictions, 1.0),
        reliability_bins(predictions, temperature),
        (calibration_error(predictions, 1.0), calibration_error(predictions, temperature)),
        coverage_curve(predictions, temperature),
    )


def _map_points(images: SplitImages | None, missing: Missing) -> list[MapPoint]:
    """Return the map of the features, of at most `MAX_POINTS` images."""
    if images is None:
        return []
    predictions = images.predictions
    if predictions.map is None:
        missing.append(("map of the features", "the run kept no features of these images"))
        return []
    known = predictions.map.isfinite().all(dim=1).nonzero()[:, 0].tolist()
    step = -(-len(known) // MAX_POINTS) if known else 1
    return [_map_point(images, predictions, index) for index in known[::step]]


def _map_point(images: SplitImages, predictions: Predictions, index: int) -> MapPoint:
    assert predictions.map is not None  # The caller looked.
    x, y = predictions.map[index].tolist()
    if predictions.task == "multi-label":
        labels = predictions.targets[index].nonzero()[:, 0].tolist()
        name = " + ".join(images.class_names[label] for label in labels) or "no label"
    else:
        name = images.class_names[int(predictions.true[index])]
    return MapPoint(x, y, name, images.short_names[index], bool(predictions.right[index]))


def _epochs(material: RunMaterial) -> list[Epoch]:
    """Return the evaluations while training; of very many every so many, the last of each stage and the one kept."""
    records = material.records
    step = -(-len(records) // MAX_EPOCHS) if records else 1
    ends = {record.stage: place for place, record in enumerate(records)}.values()
    kept = _kept(material)
    return [
        Epoch(
            stage=record.stage,
            epoch=record.step / record.steps,
            train_loss=record.train_loss,
            val_loss=record.val_loss,
            train_accuracy=record.train_accuracy if record.score_name == "accuracy" else None,
            val_score=record.score,
            learning_rate=record.learning_rate,
            kept=record is kept,
        )
        for place, record in enumerate(records)
        if place % step == 0 or place in ends or record is kept
    ]


def _kept(material: RunMaterial) -> EvalRecord | None:
    """Return the evaluation whose weights the model has: the best one of the epoch that the summary names."""
    place = material.summary.get("best_stage"), material.summary.get("best_epoch")
    kept = None
    for record in material.records:
        if (record.stage, record.epoch) == place and record.improves_on(kept):
            kept = record
    return kept


def _stages(records: Sequence[EvalRecord]) -> list[tuple[str, str, float]]:
    return [(stage, TRAINED.get(stage, ""), record.score) for stage, record in best_records(records).items()]
