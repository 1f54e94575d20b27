"""Reporting what a run chose, and why."""

from pathlib import Path

from tl_toolkit.config.checks import AUTO
from tl_toolkit.config.choices import Task
from tl_toolkit.events import PROBE, TRAINED, DecisionEvent, WarningEvent
from tl_toolkit.io.files import display_data, display_path
from tl_toolkit.models.backbones import Arch
from tl_toolkit.models.classic import CLASSIC
from tl_toolkit.planning.run_plan import RunPlan
from tl_toolkit.stages.context import RunContext
from tl_toolkit.text import join_names, named
from tl_toolkit.training.plan import STAGES, StageConfig, scheduler_of
from tl_toolkit.training.threads import Threads

MAX_NAMED = 20
"""Classes that the details name."""


def report_choices(plan: RunPlan, threads: Threads, folder: Path) -> None:
    """Report what was chosen and why: first what matters at a glance, then the details, then warnings on the weights.

    Args:
        plan: What the run does.
        threads: The threads that it computes with.
        folder: The run folder.
    """
    for decision in (*_main_choices(plan, folder), *_details(plan, threads)):
        plan.context.callback(decision)
    for warning in plan.context.network.warnings:
        plan.context.callback(WarningEvent(warning))


def _main_choices(plan: RunPlan, folder: Path) -> list[DecisionEvent]:
    context = plan.context
    config, source, network, splits = context.config, context.source, context.network, context.splits
    counts = [f"{len(splits.train):,} train", f"{len(splits.val):,} val"]
    counts.append(f"{len(splits.test):,} test" if splits.test is not None else "no test")
    val = "val is taken from train" if splits.val_from_train else ""
    arch = " ".join([str(network.arch), *config.arch_options])
    spec = network.input_spec
    size = f"{spec.height} px" if spec.height == spec.width else f"{spec.height}x{spec.width} px"
    origin, where = display_data(network.origin), ""
    if origin.endswith(")"):  # As those of weights that have a name do.
        origin, _, where = network.origin[:-1].partition(" (")
    *earlier, last = (TRAINED[name] for name in STAGES[config.tune])
    stages = f"{', '.join(earlier)}, then {last}" if earlier else last
    mirrored = "mirrored" if source.allow_hflip else f"not mirrored: {source.name} has left and right"
    random = "shifts" if config.augment == "pad-crop" else "random crops"
    classes = f"{len(source.class_names)} {_classes(source.task)}"
    head = f"one logit: 0 or more is {source.class_names[1]}" if config.one_logit else "as asked"
    return [
        DecisionEvent("data", f"{source.name}, {classes}: {', '.join(counts)}", val),
        *_task_choice(source.task),
        DecisionEvent("arch", f"{arch}, {size}", _why_this_arch(plan)),
        DecisionEvent("weights", origin, where.split(",")[0]),
        *([] if config.head == "swap" and not config.one_logit else [DecisionEvent("head", config.head, head)]),
        DecisionEvent("tune", config.tune, f"{stages}{', as long as it pays' if config.tune == AUTO else ''}"),
        DecisionEvent("augment", config.augment, "" if config.augment == "none" else f"{random}, {mirrored}"),
        DecisionEvent("device", str(context.setup)),
        DecisionEvent("run", display_path(folder)),
    ]


def _classes(task: Task) -> str:
    return "labels" if task == "multi-label" else "classes"


def _task_choice(task: Task) -> list[DecisionEvent]:
    """Return what follows for an image from several labels or soft ones."""
    if task == "multi-label":
        return [DecisionEvent("task", task, "any number of labels an image; models are chosen by mAP on val")]
    return [DecisionEvent("task", task, "shares of the classes that sum to 1")] if task == "soft" else []


def _details(plan: RunPlan, threads: Threads) -> list[DecisionEvent]:
    context = plan.context
    config, splits, network, setup = context.config, context.splits, context.network, context.setup
    spec = network.input_spec
    channels = "grayscale" if spec.channels == 1 else "colour"
    stages = ", then ".join(_describe(stage, context) for stage in plan.stages)
    size = "chosen with the network" if plan.ranked else "as asked" if config.image_size else "as the weights expect"
    details = [
        ("folder", display_data(config.data), ""),
        ("classes", join_names(context.source.class_names, MAX_NAMED), ""),
        ("val", f"{len(splits.val):,} images", splits.val_origin),
        *(("ranked", str(each), "of a linear probe, cross-validated") for each in plan.ranked),
        ("origin", network.origin, named("weights", plan.requested_weights)),
        *([("fallback", "", " ".join(network.fallback.split("\n")))] if network.fallback else []),
        ("licence", network.license or "not stated", "of the weights"),
        ("input", f"{channels}, {spec.height}x{spec.width} px", size),
        ("head", f"{config.head}, new: {', '.join(network.head_modules)}", ""),
        ("stages", stages, ""),
        ("precision", setup.precision, setup.reason),
        ("threads", str(threads.count), threads.reason),
        ("workers", str(context.images.workers), "by cores and images" if config.workers is None else "as asked"),
    ]
    return [DecisionEvent(what, value, why, detail=True) for what, value, why in details]


def _describe(stage: StageConfig, context: RunContext) -> str:
    how = [stage.optimizer, f"lr {stage.learning_rate:g}"]
    if stage.name != PROBE:
        how.append(scheduler_of(context.config, stage.name, context.network.module))
    return f"{stage.name} {stage.epochs} epochs ({', '.join(how)})"


def _why_this_arch(plan: RunPlan) -> str:
    config = plan.context.config
    if not plan.ranked:
        return _where_found(plan.context.network.arch) if ":" not in config.arch else ""
    chosen = next(each for each in plan.ranked if (each.arch, each.image_size) == (config.arch, config.image_size))
    accuracy = f"{'' if chosen.score_name == 'accuracy' else 'mAP '}{100 * chosen.score:.1f} %"
    if len(plan.ranked) == 1:
        return f"the only candidate: {accuracy} in a probe"
    rule = "best" if chosen is plan.ranked[0] else "as good as the best, and cheaper,"
    return f"{rule} of {len(plan.ranked)} in a probe: {accuracy}"


def _where_found(arch: Arch) -> str:
    return f"{arch.name} is in {arch.library}" + (", registered there by tl" if arch.name in CLASSIC else "")
