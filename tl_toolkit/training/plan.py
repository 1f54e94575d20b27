"""The stages of a run: a probe on frozen features, the last stage, everything, or one after the other."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from tl_toolkit.config.choices import Scheduler, Tune
from tl_toolkit.config.finetune import FinetuneConfig
from tl_toolkit.errors import UsageError
from tl_toolkit.events import LAST_STAGE, PROBE, TUNE, EvalRecord
from tl_toolkit.text import named
from tl_toolkit.training.averaging import Averaging
from tl_toolkit.training.layers import has_batch_norm, has_depthwise_convolution
from tl_toolkit.training.optimizers import LBFGS, LBFGS_LABELS_DECAY, Start, default_rates

DEFAULT_EPOCHS = 6
"""On Caltech-101, 12 epochs (with eight views) were no better than 6: 0.646 and 0.649 on test, three seeds each."""

LAST_STAGE_EPOCHS, LONG_LAST_STAGE_EPOCHS = 4, 8
"""Without and with a time budget, if they fit into it."""

PROBE_OPTIMIZER = "adamw"
PROBE_LEARNING_RATE = 0.01
PROBE_WEIGHT_DECAY = 2.0
PROBE_EPOCHS = 48
"""For a probe by gradient descent, whatever the optimizer of fine-tuning. Rate and decay were chosen by val accuracy on
Caltech-101, with 30 % of train as val and eight seeds (see CHANGELOG.md)."""

LBFGS_EPOCHS = 12
"""For a probe by L-BFGS: 60 iterations. On the features of tf_efficientnet_lite0 the loss of Caltech-101 then changes
in its fourth digit, and that of ants and bees no more."""

SHORT_AVERAGE, LONG_AVERAGE = Averaging(0.98), Averaging(0.998, growth=3)
"""Beside a learning rate that falls, and in place of its fall: the long one has about the last half of all steps."""

WARMUP, LONG_WARMUP = 0.1, 0.4

STAGES: dict[Tune, tuple[str, ...]] = {
    "auto": (PROBE, LAST_STAGE, TUNE),
    "linear-probe": (PROBE,),
    "last-stage": (PROBE, LAST_STAGE),
    "lp-ft": (PROBE, TUNE),
    "full": (TUNE,),
}


@dataclass(frozen=True, slots=True)
class StageConfig:
    """The settings of a stage, with every choice made.

    Attributes:
        gain_images: How many images more than the probe it has right in cross-validation; 0 if that was not tried.
    """

    name: str
    epochs: int
    optimizer: str
    learning_rate: float
    head_learning_rate: float
    weight_decay: float
    gain_images: int = 0

    @property
    def policy(self) -> Tune:
        """The `--tune` that trains the same modules."""
        policies: dict[str, Tune] = {PROBE: "linear-probe", LAST_STAGE: "last-stage"}
        return policies.get(self.name, "full")


def plan_stages(config: FinetuneConfig, module: nn.Module) -> list[StageConfig]:
    """Return the stages of a run in order, with defaults for what the user did not set.

    Args:
        config: The settings.
        module: The network; the default learning rate depends on whether its BatchNorm learns.

    Raises:
        UsageError: The optimizer has no default learning rate, and the user set none; or it cannot be used.
    """
    return [
        _plan_probe(config) if name == PROBE else _plan_tuning(name, config, module) for name in STAGES[config.tune]
    ]


def norm_is_frozen(config: FinetuneConfig, module: nn.Module) -> bool:
    """Return whether BatchNorm's statistics stay the same during fine-tuning, or the network has none.

    By default they do in pretrained networks with depthwise convolutions. The probe learned on the running statistics,
    and the change to those of batches makes these networks forget: tf_efficientnet_lite0 fell below its probe and did
    not recover. ResNet18 gained twice as much with batches (tests/benchmarks/NOTES.md).
    """
    if not has_batch_norm(module):
        return True
    if config.norm is None:
        return config.weights != "none" and has_depthwise_convolution(module)
    return config.norm == "frozen"


def plan_minibatch_probe(config: FinetuneConfig) -> StageConfig:
    """Return the settings of a probe by gradient descent."""
    return _plan_probe(config, PROBE_OPTIMIZER)


def warmup_share(config: FinetuneConfig, stage: str, module: nn.Module) -> float:
    """Return the share of a stage's steps in which the learning rate rises.

    It is larger if BatchNorm changes to the statistics of batches: on Caltech-101 ResNet18's first epoch is then above
    the probe that it starts from, not 3 points below, and its last one a point better (tests/benchmarks/NOTES.md).
    """
    if config.warmup is not None:
        return config.warmup
    return LONG_WARMUP if _starts_from_probe(config, stage) and not norm_is_frozen(config, module) else WARMUP


def scheduler_of(config: FinetuneConfig, stage: str, module: nn.Module) -> Scheduler:
    """Return the schedule of a stage's learning rate: by default a cosine, or constant where an average replaces it."""
    return config.scheduler or ("constant" if _suits_average(config, stage, module) else "cosine")


def averaging_of(config: FinetuneConfig, stage: str, module: nn.Module) -> Averaging | None:
    """Return the moving average of a stage's weights; None if there is none, as in training from scratch.

    With it the first epoch does not fall below the probe that it starts from (tests/benchmarks/NOTES.md).
    """
    if config.ema is not None:
        return Averaging(config.ema) if config.ema else None
    if config.weights == "none":
        return None
    return LONG_AVERAGE if scheduler_of(config, stage, module) == "constant" else SHORT_AVERAGE


def _suits_average(config: FinetuneConfig, stage: str, module: nn.Module) -> bool:
    """Return whether a constant rate and a long average of the weights suit a stage.

    They beat a cosine where a pretrained network with frozen BatchNorm continues from a probe: on Caltech-101 93.7 % of
    the images of five folds in place of 92.8 % with tf_efficientnet_lite0, whose probe has 92.2 %
    (tests/benchmarks/NOTES.md). They were not tried on networks without BatchNorm.
    """
    keeps_statistics = has_batch_norm(module) and norm_is_frozen(config, module)
    return _starts_from_probe(config, stage) and keeps_statistics and config.ema is None


def _starts_from_probe(config: FinetuneConfig, stage: str) -> bool:
    """Return whether a stage fine-tunes a pretrained network from its probe."""
    return stage != PROBE and PROBE in STAGES[config.tune] and config.weights != "none"


def _plan_probe(config: FinetuneConfig, optimizer: str | None = None) -> StageConfig:
    """Return the settings of a probe; with linear-probe, --epochs, --lr, --optimizer and the like apply to it."""
    alone = config.tune == "linear-probe"
    if optimizer is None:
        optimizer = (config.optimizer if alone else None) or (LBFGS if _allows_lbfgs(config) else PROBE_OPTIMIZER)
    if optimizer == LBFGS and not _allows_lbfgs(config):
        raise UsageError(
            f"{named('optimizer', LBFGS)} solves a linear head on all features at once: leave out "
            f"{named('head', 'mlp')}, {named('views')}, {named('sampler', 'balanced')}, {named('drop_last', True)}, "
            f"{named('feature_cache', False)}, {named('learning_rate')} and {named('probe_learning_rate')}."
        )
    rate = (config.learning_rate if alone else None) or config.probe_rate
    decay = config.weight_decay if alone else None
    if optimizer == PROBE_OPTIMIZER:
        rate = PROBE_LEARNING_RATE if rate is None else rate
        decay = PROBE_WEIGHT_DECAY if decay is None else decay
    if optimizer == LBFGS and config.task == "multi-label":
        decay = LBFGS_LABELS_DECAY if decay is None else decay
    rates = default_rates(optimizer, "scratch", rate, decay)
    return StageConfig(
        name=PROBE,
        epochs=(config.epochs if alone else None)
        or config.probe_epochs
        or (LBFGS_EPOCHS if optimizer == LBFGS else PROBE_EPOCHS),
        optimizer=optimizer,
        learning_rate=rates.learning_rate,
        head_learning_rate=(config.head_learning_rate if alone else None) or rates.learning_rate,
        weight_decay=rates.weight_decay,
    )


def _allows_lbfgs(config: FinetuneConfig) -> bool:
    """Return whether L-BFGS can solve the probe on all features at once: for a Linear without a set learning rate.

    Views, balanced batches and features that are computed in every epoch come in batches.
    """
    rates = (config.probe_learning_rate, config.learning_rate if config.tune == "linear-probe" else None)
    batched = config.views > 1 or config.sampler == "balanced" or config.drop_last or not config.feature_cache
    return config.head != "mlp" and not batched and all(rate is None for rate in rates)


def _plan_tuning(name: str, config: FinetuneConfig, module: nn.Module) -> StageConfig:
    """Return the settings of a stage of fine-tuning; by default the head has the backbone's learning rate."""
    optimizer = config.optimizer or "adamw"
    if optimizer == LBFGS:
        raise UsageError(
            f"{named('optimizer', LBFGS)} solves a linear head and works only with {named('tune', 'linear-probe')}."
        )
    pretrained: Start = "frozen" if norm_is_frozen(config, module) else "batch"
    if _suits_average(config, name, module) and scheduler_of(config, name, module) == "constant":
        pretrained = "averaged"
    start: Start = pretrained if config.weights != "none" else "scratch" if has_batch_norm(module) else "frozen"
    rates = default_rates(optimizer, start, config.learning_rate, config.weight_decay)
    last_stage_epochs = LONG_LAST_STAGE_EPOCHS if config.time_budget else LAST_STAGE_EPOCHS
    return StageConfig(
        name=name,
        epochs=config.epochs or (last_stage_epochs if name == LAST_STAGE else DEFAULT_EPOCHS),
        optimizer=optimizer,
        learning_rate=rates.learning_rate,
        head_learning_rate=config.head_learning_rate or rates.learning_rate,
        weight_decay=rates.weight_decay,
    )


def best_by_stage(records: Sequence[EvalRecord]) -> dict[str, float]:
    """Return the best score on val of each stage, and for a probe the last, which is the one that counts."""
    return {stage: record.score for stage, record in best_records(records).items()}


def best_records(records: Sequence[EvalRecord]) -> dict[str, EvalRecord]:
    """Return the best evaluation of each stage, and for a probe the last."""
    best: dict[str, EvalRecord] = {}
    for record in records:
        if record.stage == PROBE or record.improves_on(best.get(record.stage)):
            best[record.stage] = record
    return best
