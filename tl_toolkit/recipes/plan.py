"""What the stages of a run are: a probe on frozen features, fine-tuning, or one after the other."""

from dataclasses import dataclass

from torch import nn

from tl_toolkit.config import FinetuneConfig
from tl_toolkit.training.optimizers import default_rates

DEFAULT_EPOCHS = 6
"""On Caltech-101, 12 epochs (with eight views) brought no more than 6: 0.646 and 0.649 on test, three seeds each."""

PROBE_LEARNING_RATE = 0.01

PROBE_OPTIMIZER = "adamw"
PROBE_WEIGHT_DECAY = 2.0
"""Of the probe that lp-ft begins with, whatever optimizer the fine-tuning has. Rate and decay were chosen by val
accuracy on Caltech-101, with 30 % of train as val and eight seeds (see CHANGELOG.md)."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What differs between the stages."""

    name: str
    epochs: int
    optimizer: str
    learning_rate: float
    head_learning_rate: float
    weight_decay: float


def plan(config: FinetuneConfig, module: nn.Module) -> list[Settings]:
    """The stages of a run, in order, with what the user left open chosen.

    Args:
        config: The settings.
        module: The network; the default learning rate depends on whether it has BatchNorm.

    Raises:
        UsageError: The optimizer has no default learning rate, and none is given.
    """
    stages = {"linear-probe": (_probe_settings,), "lp-ft": (_probe_settings, _tune_settings)}
    return [settings(config, module) for settings in stages.get(config.tune, (_tune_settings,))]


def _probe_settings(config: FinetuneConfig, module: nn.Module) -> Settings:
    """With linear-probe, the probe is the run: --epochs, --lr and --optimizer speak of it where they are given."""
    alone = config.tune == "linear-probe"
    optimizer = config.optimizer if alone else PROBE_OPTIMIZER
    rate = (config.learning_rate if alone else None) or config.probe_rate
    decay = config.weight_decay if alone else None
    if optimizer == PROBE_OPTIMIZER:
        rate = PROBE_LEARNING_RATE if rate is None else rate
        decay = PROBE_WEIGHT_DECAY if decay is None else decay
    defaults = default_rates(optimizer, module, rate, decay)
    return Settings(
        name="probe",
        epochs=(config.epochs if alone else None) or config.probe_epochs,
        optimizer=optimizer,
        learning_rate=defaults.learning_rate,
        head_learning_rate=(config.head_learning_rate if alone else None) or defaults.learning_rate,
        weight_decay=defaults.weight_decay,
    )


def _tune_settings(config: FinetuneConfig, module: nn.Module) -> Settings:
    """The head has the backbone's learning rate where it has none of its own."""
    rates = default_rates(config.optimizer, module, config.learning_rate, config.weight_decay)
    return Settings(
        name="tune",
        epochs=config.epochs or DEFAULT_EPOCHS,
        optimizer=config.optimizer,
        learning_rate=rates.learning_rate,
        head_learning_rate=config.head_learning_rate or rates.learning_rate,
        weight_decay=rates.weight_decay,
    )
