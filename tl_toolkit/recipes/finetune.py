"""Fine-tuning, from a config to a run folder: the main job of the toolkit."""

import dataclasses
import importlib.metadata
import platform
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tl_toolkit.artifact import MODEL_FILE, ModelCard, save_model
from tl_toolkit.config import FinetuneConfig
from tl_toolkit.data.sources import PYTHON_PREFIX, Source, open_source
from tl_toolkit.data.workers import naming_dead_workers
from tl_toolkit.exporting.weights import export
from tl_toolkit.models.backbones import Arch, resolve_arch
from tl_toolkit.models.build import Network, build_network
from tl_toolkit.models.classic import CLASSIC
from tl_toolkit.models.weights import Overrides
from tl_toolkit.recipes import run_folder
from tl_toolkit.recipes.evaluate import class_accuracy
from tl_toolkit.recipes.events import Chosen, Counted, Listener, Warned, Wrote, log_event
from tl_toolkit.recipes.loaded_model import LoadedModel, load
from tl_toolkit.recipes.pictures import sample_pictures
from tl_toolkit.recipes.preparation import Splits, check_classes, prepare_splits
from tl_toolkit.recipes.stages import Bench, Settings, plan, train_stage
from tl_toolkit.report.curves import Curve, draw_curves
from tl_toolkit.report.tensorboard import TensorBoard, check_tensorboard, open_board
from tl_toolkit.training.compute import choose_compute
from tl_toolkit.training.loop import EvalRecord, Progress, StepRecord
from tl_toolkit.training.metrics import Scores
from tl_toolkit.training.optimizers import check_optimizer

PACKAGES = ("torch", "torchvision", "timm", "tl_toolkit")
METRICS = ("val_accuracy", "val_loss", "test_accuracy", "val_images", "test_images")
EXPORT_FILES = {"state-dict": run_folder.STATE_DICT_FILE, "full-model": run_folder.FULL_MODEL_FILE}


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        path: The run folder.
        summary: The content of its summary.json.
        model: The model it saved, read back from the file.
    """

    path: Path
    summary: dict[str, Any]
    model: LoadedModel


@naming_dead_workers()
def finetune(config: FinetuneConfig, data: Any = None, listener: Listener = log_event) -> Run:
    """Fine-tunes a pretrained network and writes everything needed to use it to a new folder.

    Args:
        config: The settings.
        data: Images as Python objects, in place of the config's `data`.
        listener: Told of choices, warnings and progress.

    Raises:
        ToolkitError: Anything that keeps the run from going on; see `tl_toolkit.errors`.
    """
    started = time.perf_counter()
    run_folder.check_out(config.out)
    check_optimizer(config.optimizer)
    if config.tensorboard:
        check_tensorboard()
    compute = choose_compute(config.device, config.precision)
    source = open_source(config.data if data is None else data, Path(config.data_root), config.download)
    config = dataclasses.replace(config, data=config.data if data is None else PYTHON_PREFIX + source.name).located()
    check_classes(source, config)
    network = _build(config, 1 if config.one_logit else len(source.class_names), listener)
    asked, config = config.weights, dataclasses.replace(config, weights=network.weights)
    stages = plan(config, network.module)
    splits = prepare_splits(source, config, network.input_spec.enough, listener)
    bench = Bench(config, network, len(source.class_names), splits, source.mirror, compute, listener)
    _tell_choices(bench, source, stages, asked)

    folder = run_folder.create_run_folder(config.out, network.arch.name, source.name)
    run_folder.write_config(folder, config.to_yaml())
    card = _card(config, network, source)
    with open_board(folder / run_folder.TENSORBOARD_FOLDER if config.tensorboard else None) as board:
        records = _train(bench, stages, folder, card, board)
        model = load(folder / MODEL_FILE, device=str(compute.device), precision=compute.precision)
        val = bench.score(model, "val", splits.val)
        test = bench.score(model, "test", splits.test) if splits.test else None
        if board:
            _show_on_board(board, model, config, splits, val, test, listener)
    outcome = {
        "val_accuracy": val.accuracy,
        "val_loss": val.loss,
        "test_accuracy": test.accuracy if test else None,
        "class_accuracy": class_accuracy(test or val, source.class_names),
        "train_loss": records[-1].train_loss,
        "seconds": round(time.perf_counter() - started, 2),
        "images_per_second": round(_images_per_second(records), 1),
    }
    summary = _summary(bench, source, folder, records[-1].epochs, outcome)
    model.card = dataclasses.replace(card, metrics={key: summary[key] for key in METRICS})
    _write_results(config, folder, model, summary, records, splits, listener)
    return Run(folder, summary, model)


def _summary(bench: Bench, source: Source, folder: Path, epochs: int, outcome: dict[str, Any]) -> dict[str, Any]:
    """What was trained on what, and what came of it: the content of summary.json."""
    config, network, splits, compute = bench.config, bench.network, bench.splits, bench.compute
    return {
        "run": str(folder),
        "model": str(folder / MODEL_FILE),
        "arch": str(network.arch),
        "weights": network.origin,
        "data": config.data,
        "classes": len(source.class_names),
        "class_names": list(source.class_names),
        "head": config.head,
        "loss": config.chosen_loss,
        "tune": config.tune,
        "seed": config.seed,
        "epochs": epochs,
        "train_images": len(splits.train),
        "val_images": len(splits.val),
        "test_images": len(splits.test or ()),
        **outcome,
        "precision": compute.precision,
        "device": str(compute.device),
        "bad_images": [dataclasses.asdict(image) for image in splits.bad],
        "versions": _versions(),
    }


def _build(config: FinetuneConfig, outputs: int, listener: Listener) -> Network:
    torch.manual_seed(config.seed)
    overrides = Overrides(config.image_size, config.in_channels)

    def progress(done: int, total: int | None) -> None:
        listener(Counted("download", done, total, "bytes"))

    arch = resolve_arch(config.arch, config.options_of_arch)
    network = build_network(arch, outputs, config.head, config.weights, overrides, progress)
    for warning in network.warnings:
        listener(Warned(warning))
    return network


def _tell_choices(bench: Bench, source: Source, stages: list[Settings], asked: str) -> None:
    """Says what was chosen and why."""
    config, network, compute = bench.config, bench.network, bench.compute
    spec, splits = network.input_spec, bench.splits
    bare = ":" not in config.arch
    counts = f"{len(splits.train):,} train, {len(splits.val):,} val, {len(splits.test or ()):,} test"
    channels = "grayscale" if spec.channels == 1 else "colour"
    courses = " then ".join(
        f"{stage.name} {stage.epochs} epochs ({stage.optimizer}, lr {stage.learning_rate:g})" for stage in stages
    )
    mirrored = "mirrored" if source.mirror else f"not mirrored: {source.name} has left and right"
    random = "shifts" if config.augment == "pad-crop" else "random crops"
    outputs = ", one logit: 0 or more is " + source.class_names[1] if config.one_logit else ""
    for what, value, why in (
        ("arch", " ".join([str(network.arch), *config.arch_options]), _where_found(network.arch) if bare else ""),
        ("weights", network.origin, f"--weights {asked}"),
        ("data", f"{source.name}, {len(source.class_names)} classes, {counts}", ""),
        ("val", f"{len(splits.val):,} images", splits.val_origin),
        (
            "input",
            f"{channels}, {spec.height}x{spec.width} px",
            "as asked" if config.image_size else "as the weights expect",
        ),
        ("head", f"{config.head}, new: {', '.join(network.head_modules)}{outputs}", ""),
        ("tune", config.tune, courses),
        ("augment", config.augment, "" if config.augment == "none" else f"{random}, {mirrored}"),
        ("device", f"{compute.device}, {compute.precision}", compute.reason),
        ("workers", str(bench.workers), "as asked" if config.workers is not None else "by cores and images"),
    ):
        bench.listener(Chosen(what, value, why))


def _where_found(arch: Arch) -> str:
    return f"{arch.name} is in {arch.library}" + (", registered there by tl" if arch.name in CLASSIC else "")


def _train(
    bench: Bench, stages: list[Settings], folder: Path, card: ModelCard, board: TensorBoard | None
) -> list[EvalRecord]:
    """Runs the stages; the model file always holds the best weights by val that there have been.

    Returns:
        The records of all evaluations on val.
    """
    module = bench.network.module
    records: list[EvalRecord] = []
    best: EvalRecord | None = None
    weights: dict[str, torch.Tensor] = {}
    for stage in stages:
        try:
            for told in train_stage(bench, stage):
                bench.listener(told)
                if isinstance(told, Progress):
                    continue
                run_folder.append_metrics(folder, dataclasses.asdict(told))
                if board:
                    board.add(told)
                if isinstance(told, StepRecord):
                    continue
                records.append(told)
                if told.improves_on(best):
                    best = told
                    weights = {key: value.clone() for key, value in module.state_dict().items()}
                    if stage.name == "tune":  # A probe's epoch is quicker than the writing of a file.
                        save_model(folder / MODEL_FILE, weights, card)
        finally:  # Also when training stops here: what was learned is not lost.
            if weights:
                save_model(folder / MODEL_FILE, weights, card)
    save_model(folder / run_folder.LAST_FILE, module.state_dict(), card)
    return records


def _show_on_board(
    board: TensorBoard,
    model: LoadedModel,
    config: FinetuneConfig,
    splits: Splits,
    val: Scores,
    test: Scores | None,
    listener: Listener,
) -> None:
    """Adds to TensorBoard what is known at the end: sample images with predictions, the graph, the results."""
    board.add_pictures(sample_pictures(model, splits.test or splits.val, config.seed))
    spec = model.input_spec
    blank = torch.zeros(1, spec.channels, spec.height, spec.width, device=model.compute.device)
    problem = board.add_graph(model.module, blank)
    if problem:
        listener(Warned(f"TensorBoard has no graph of this network: {problem}"))
    metrics = {"val_accuracy": val.accuracy, "val_loss": val.loss}
    board.add_results(config.to_dict(), metrics | ({"test_accuracy": test.accuracy} if test else {}))


def _card(config: FinetuneConfig, network: Network, source: Source) -> ModelCard:
    return ModelCard(
        architecture=str(network.arch),
        arch_options=config.options_of_arch,
        one_logit=config.one_logit,
        loss=config.chosen_loss,
        head=network.head,
        base_classes=network.base_classes,
        class_names=source.class_names,
        input_spec=network.input_spec,
        weights=network.origin,
        training=config.to_dict(),
        versions=_versions(),
    )


def _write_results(
    config: FinetuneConfig,
    folder: Path,
    model: LoadedModel,
    summary: dict[str, Any],
    records: list[EvalRecord],
    splits: Splits,
    listener: Listener,
) -> None:
    """Writes what a finished run adds to its folder, and tells what is there."""
    save_model(folder / MODEL_FILE, model.module.state_dict(), model.card)
    listener(Wrote(folder / MODEL_FILE, "the best weights by val, class names and preprocessing"))
    listener(Wrote(folder / run_folder.LAST_FILE, "the weights of the last epoch"))
    for form in dict.fromkeys(config.save):
        path = folder / EXPORT_FILES[form]
        export(model.module, model.card, form, path)
        listener(Wrote(path, f"the best weights as a {form}"))
    if splits.bad:
        listener(Wrote(run_folder.write_bad_images(folder, splits.bad), "the images that were left out"))
    listener(Wrote(run_folder.write_summary(folder, summary), "the results"))
    curves = [Curve(f"{summary['arch']} on {summary['data']}", records)]
    draw_curves(curves, folder / run_folder.CURVES_FILE)
    listener(Wrote(folder / run_folder.CURVES_FILE, "loss and accuracy over the epochs"))
    listener(Wrote(folder / run_folder.CONFIG_FILE, "the settings, to run again"))
    listener(Wrote(folder / run_folder.METRICS_FILE, "a line for each evaluation"))
    if config.tensorboard:
        listener(Wrote(folder / run_folder.TENSORBOARD_FOLDER, f"tensorboard --logdir {folder}"))


def _images_per_second(records: list[EvalRecord]) -> float:
    """Of the last stage as a whole."""
    last = [record for record in records if record.stage == records[-1].stage]
    return sum(record.images for record in last) / sum(record.images / record.images_per_second for record in last)


def _versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in PACKAGES}}
