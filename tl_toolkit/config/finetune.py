"""FinetuneConfig: every setting of a run, with its default, its limits and its help, in one place.

The flags of ``tl finetune``, the keyword arguments of ``tl_toolkit.finetune`` and the keys of a
config file are all made from this one class.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import yaml

from tl_toolkit.config.checks import AUTO, problems_between
from tl_toolkit.config.choices import (
    DIGITS,
    MAX_THREADS,
    NAMED_WEIGHTS,
    RESUMABLE,
    Augment,
    ClassWeights,
    Duplicates,
    Head,
    Loss,
    Norm,
    Precision,
    Sampler,
    SaveFormat,
    Scheduler,
    SubsetOrder,
    Tune,
)
from tl_toolkit.config.fields import coerce, flag_name, read_yaml, setting, validate
from tl_toolkit.errors import ConfigError, UnknownNameError, UsageError
from tl_toolkit.input_spec import LARGEST_SIDE
from tl_toolkit.io.files import expand_path, parse_size
from tl_toolkit.text import format_value

SECONDS = {"s": 1, "m": 60, "h": 3600}


UNICODE_BREAKS = "\x85\u2028\u2029"
"""PyYAML writes them as they are, without quotes, and reads them as ends of lines: a path may have one."""

MODEL, DATA, TRAINING, AUGMENTATION, OUTPUT = "Model", "Data", "Training", "Augmentation and input", "Output"


@dataclass(frozen=True, kw_only=True, slots=True)
class FinetuneConfig:
    """Settings of one fine-tuning run, checked as a whole when it is made.

    Raises:
        ConfigError: Some settings are wrong; the message lists them all.
    """

    arch: str = setting(
        "auto",
        "Network: a name from `tl models`, `torchvision:NAME` or `timm:NAME`; auto tries those whose weights are on "
        "this machine on a sample of your images, as `tl rank` does.",
        MODEL,
    )
    weights: str = setting(
        "auto",
        "Pretrained weights: auto, imagenet, package, bundled, none, a FILE, a URL#sha256=HEX or hf-hub:ORG/NAME.",
        MODEL,
    )
    arch_options: tuple[str, ...] = setting(
        (), "An option of the network's own, such as drop_path_rate=0.1 or activation=relu; repeatable.", MODEL
    )
    head: Head = setting(
        "swap",
        "swap replaces the classifier, append adds a Linear after its logits, mlp replaces it by two layers.",
        MODEL,
    )
    tune: Tune = setting(
        "auto",
        "What trains: the head (linear-probe), then the last stage (last-stage), everything at once (full) or the head "
        "and then everything (lp-ft); auto goes from the head on as long as val gains by it.",
        MODEL,
    )
    time_budget: str | None = setting(
        None,
        "Most time that the whole run may take, such as 90s, 10m or 2h; the more, the more auto tries.",
        TRAINING,
        automatic="none; auto trains stages of half a minute or so",
    )

    data: str = setting("digits", "Images: a folder, `digits` or `torchvision:NAME`.", DATA)
    classes: int | None = setting(
        None,
        "Number of classes that the data must have; 1 tells two classes apart by one logit.",
        DATA,
        minimum=1,
        automatic="from the data",
    )
    val_split: float = setting(
        0.1, "Share of train that becomes val where the data has no val split.", DATA, above=0, below=1
    )
    train_images: int | None = setting(None, "Train on so many images.", DATA, minimum=2, automatic="all")
    val_images: int | None = setting(
        None, "So many images in val, in place of --val-split.", DATA, minimum=1, automatic="by --val-split, or all"
    )
    test_images: int | None = setting(None, "Test on so many images.", DATA, minimum=1, automatic="all")
    draw: SubsetOrder = setting(
        "stratified",
        "Which images val and these numbers take: by lot from each class, or in the data's order, val from the end of "
        "train and the others from the beginning.",
        DATA,
    )
    data_root: str = setting("datasets", "Folder of the torchvision datasets.", DATA)
    download: bool = setting(False, "Download a torchvision dataset that is not there yet.", DATA)
    strict: bool = setting(False, "Stop at unreadable images instead of leaving them out.", DATA)
    duplicates: Duplicates = setting(
        "warn",
        "Identical images: warn of them; drop copies from train, and from val those that test has too; or fail.",
        DATA,
    )

    epochs: int | None = setting(
        None,
        "Passes over train.",
        TRAINING,
        minimum=1,
        automatic="6; 4 of the last stage, 8 with a time budget; --probe-epochs with linear-probe",
    )
    probe_epochs: int | None = setting(
        None,
        "Epochs of the probe before fine-tuning.",
        TRAINING,
        minimum=1,
        automatic="12 of L-BFGS, 48 of gradient descent",
    )
    patience: int | None = setting(
        None,
        "Stop fine-tuning after so many evaluations in a row that did not improve val.",
        TRAINING,
        minimum=1,
        automatic="all epochs",
    )
    views: int = setting(
        1,
        "Views of an image in which frozen features are computed: as it is, mirrored, and then crops.",
        TRAINING,
        minimum=1,
    )
    batch_size: int = setting(32, "Images in a step; 256 where a head alone trains.", TRAINING, minimum=1)
    learning_rate: float | None = setting(
        None,
        "Peak learning rate.",
        TRAINING,
        above=0,
        automatic="by optimizer and network; --probe-lr with linear-probe",
    )
    head_learning_rate: float | None = setting(
        None, "Peak learning rate of the head.", TRAINING, above=0, automatic="as --lr"
    )
    probe_learning_rate: str | None = setting(
        None,
        "Train the probe by gradient descent at this peak learning rate; auto tries a grid of rates and weight decays "
        "and keeps the best by val.",
        TRAINING,
        automatic="solved by L-BFGS, without one",
        number_too=True,
    )
    weight_decay: float | None = setting(
        None, "Weight decay; none on biases and norms.", TRAINING, minimum=0, automatic="by optimizer"
    )
    optimizer: str | None = setting(
        None,
        "adamw, sgd (with Nesterov momentum), momentum (without) or any other timm optimizer; lbfgs for linear-probe.",
        TRAINING,
        automatic="adamw; lbfgs for the probe",
    )
    momentum: float = setting(0.9, "Momentum of the optimizers that have one.", TRAINING, minimum=0, below=1)
    scheduler: Scheduler = setting("cosine", "Course of the learning rate after the warm-up.", TRAINING)
    warmup: float | None = setting(
        None,
        "Share of the steps in which the learning rate rises.",
        TRAINING,
        minimum=0,
        below=1,
        automatic="0.1; 0.4 where BatchNorm learns after a probe",
    )
    clip_gradient: float | None = setting(
        None, "Largest norm of the gradient.", TRAINING, above=0, automatic="no clipping"
    )
    loss: Loss | None = setting(
        None,
        "cross-entropy, or bce: each class for itself.",
        TRAINING,
        automatic="cross-entropy; bce with --classes 1",
    )
    label_smoothing: float | None = setting(
        None,
        "Share of a target that is spread over all classes.",
        TRAINING,
        minimum=0,
        below=1,
        automatic="0.1; 0 with two classes",
    )
    norm: Norm | None = setting(
        None,
        "BatchNorm while fine-tuning: frozen keeps the statistics of the pretrained weights, batch learns new ones.",
        TRAINING,
        automatic="frozen in pretrained networks with depthwise convolutions",
    )
    layer_decay: float = setting(
        1.0,
        "Factor of the learning rate from each layer of the backbone to the one before it.",
        TRAINING,
        above=0,
        maximum=1,
    )
    ema: float | None = setting(
        None,
        "Evaluate and save a moving average of the fine-tuned weights, with this decay a step; 0 is off.",
        TRAINING,
        minimum=0,
        below=1,
        automatic="0.98 with pretrained weights",
    )
    mixup: float = setting(0.0, "Alpha of mixup while fine-tuning; 0 is off.", TRAINING, minimum=0)
    cutmix: float = setting(0.0, "Alpha of CutMix while fine-tuning; 0 is off.", TRAINING, minimum=0)
    class_weights: ClassWeights = setting(
        "none", "balanced counts an image the more in the loss the rarer its class is.", TRAINING
    )
    sampler: Sampler = setting(
        "shuffle", "shuffle shows each image of train once an epoch, balanced each class as often.", TRAINING
    )
    drop_last: bool = setting(False, "Leave out an epoch's last batch where it is smaller than the others.", TRAINING)
    eval_every: int | None = setting(
        None, "Evaluate on val after every N steps too.", TRAINING, minimum=1, automatic="after each epoch alone"
    )
    log_every: int | None = setting(
        None, "Tell and note the loss of train after every N steps.", TRAINING, minimum=1, automatic="not"
    )
    seed: int = setting(
        0, "Seed of the split, the order, the augmentation and the new layers.", TRAINING, minimum=0, maximum=2**32 - 1
    )

    augment: Augment = setting(
        "light",
        "pad-crop: shifts and mirroring, as for CIFAR; light: random crops and mirroring; strong: also TrivialAugment "
        "and erasing.",
        AUGMENTATION,
    )
    image_size: int | None = setting(
        None,
        "Height and width of the input in pixels.",
        AUGMENTATION,
        minimum=8,
        maximum=LARGEST_SIDE,
        automatic="as the weights",
    )
    in_channels: int | None = setting(
        None, "1 for grayscale or 3 for colour.", AUGMENTATION, minimum=1, maximum=3, automatic="as the weights"
    )

    feature_cache: bool = setting(
        True,
        "Keep what frozen layers give on disk, for later epochs and runs; else they compute it in every epoch.",
        OUTPUT,
    )
    cache_size: str | None = setting(
        None,
        "Most that the cache may take, such as 500MB or 20GiB; 0 writes nothing there.",
        OUTPUT,
        automatic="10GiB, or half of the free disk",
        number_too=True,
    )
    checkpoint_every: str | None = setting(
        None,
        "Write a checkpoint every N steps, or so often: 50, 30s, 5m or 1h.",
        OUTPUT,
        automatic="every epoch and 5m",
        number_too=True,
    )
    device: str = setting("auto", "auto, cpu, cuda, cuda:N or mps.", OUTPUT)
    precision: Precision = setting("auto", "auto is bf16 where the device computes it natively.", OUTPUT)
    compile: bool = setting(
        False, "Compile the network with torch.compile where it trains on images; on CPUs this was slower.", OUTPUT
    )
    workers: int | None = setting(
        None, "Processes that decode images.", OUTPUT, minimum=0, automatic="by cores and images"
    )
    threads: int | None = setting(
        None,
        "Cores that the run takes; 1 on a machine that other programs keep busy. Another number rounds sums otherwise.",
        OUTPUT,
        minimum=1,
        maximum=MAX_THREADS,
        automatic="OMP_NUM_THREADS, else those that it may use",
    )
    out: str | None = setting(None, "Folder of the run; it must not exist.", OUTPUT, automatic="runs/DATE-ARCH-DATA")
    tensorboard: bool = setting(False, "Write TensorBoard's event files into the run folder.", OUTPUT)
    save: tuple[SaveFormat, ...] = setting((), "Also write state_dict.pt or full_model.pt; repeatable.", OUTPUT)

    def __post_init__(self) -> None:
        problems = [
            problem for field in dataclasses.fields(self) if (problem := validate(field, getattr(self, field.name)))
        ]
        problems += problems_between(self)
        if problems:
            raise ConfigError(problems)

    @classmethod
    def from_values(cls, *sources: Mapping[str, Any]) -> Self:
        """Makes a config from names and values of any origin; `lr` is as good as `learning_rate`.

        Args:
            sources: Settings by name; a later source wins over an earlier one.

        Raises:
            UnknownNameError: A name is no setting.
            ConfigError: Some settings are wrong; the message lists them all.
        """
        fields = {field.name: field for field in dataclasses.fields(cls)}
        short = {flag_name(field): field for field in fields.values()}
        chosen: dict[str, Any] = {}
        for values in sources:
            given: dict[str, Any] = {}
            for name, value in values.items():
                field = fields.get(name) or short.get(name)
                if field is None:
                    raise UnknownNameError(
                        "setting", name if isinstance(name, str) else format_value(name), [*fields, *short]
                    )
                if field.name in given:
                    raise ConfigError([f"{field.name} is given twice, also as {flag_name(field)}."])
                given[field.name] = coerce(field, value)
            chosen |= given
        return cls(**chosen)

    @property
    def one_logit(self) -> bool:
        """Whether two classes are told apart by one logit."""
        return self.classes == 1

    @property
    def resolved_loss(self) -> Loss:
        """The loss, where it is left open too."""
        return self.loss or ("bce" if self.one_logit else "cross-entropy")

    @property
    def probe_rate(self) -> float | None:
        """`probe_learning_rate` where it is a number."""
        return None if self.probe_learning_rate in (None, AUTO) else float(self.probe_learning_rate)

    @property
    def uses_cache(self) -> bool:
        """Whether the run may write to the cache."""
        return self.feature_cache and self.cache_bytes != 0

    @property
    def cache_bytes(self) -> int | None:
        """`cache_size` in bytes; None where it is left open."""
        return None if self.cache_size is None else parse_size(self.cache_size)

    @property
    def checkpoint_steps(self) -> int | None:
        """Steps from one checkpoint to the next, where `checkpoint_every` is a number of steps."""
        every = self.checkpoint_every
        return int(every) if every and every.isdecimal() else None

    @property
    def checkpoint_seconds(self) -> float | None:
        """Seconds from one checkpoint to the next, where `checkpoint_every` is a time."""
        every = self.checkpoint_every
        return float(every[:-1]) * SECONDS[every[-1]] if every and not every.isdecimal() else None

    @property
    def budget_seconds(self) -> float | None:
        """`time_budget` in seconds; None where there is none."""
        return None if self.time_budget is None else float(self.time_budget[:-1]) * SECONDS[self.time_budget[-1]]

    @property
    def parsed_arch_options(self) -> dict[str, Any]:
        """`arch_options` as names and values; a value is read as YAML reads it."""
        pairs = (option.partition("=") for option in self.arch_options)
        return {name: read_yaml(value) for name, _, value in pairs}

    def with_absolute_paths(self) -> Self:
        """The same settings with full paths, so that they mean the same in any working directory."""
        return dataclasses.replace(
            self,
            data=_full_path(self.data) if is_data_path(self.data) else self.data,
            weights=self.weights if self.weights in NAMED_WEIGHTS or ":" in self.weights else _full_path(self.weights),
            data_root=_full_path(self.data_root),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, without `out`, so that they make a new run when used again."""
        values = {name: value for name, value in dataclasses.asdict(self).items() if name != "out"}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    def to_resume(self) -> dict[str, Any]:
        """`to_dict` without what may change while a run goes on: the rest decides what it learns."""
        free = RESUMABLE | {"feature_cache", "cache_size", "strict", "download", "save", "tensorboard"}
        return {name: value for name, value in self.to_dict().items() if name not in free}

    def to_yaml(self) -> str:
        """`to_dict` as YAML."""
        text: str = yaml.safe_dump(self.to_dict(), sort_keys=False, allow_unicode=True)
        if any(sign in text for sign in UNICODE_BREAKS):
            text = yaml.safe_dump(self.to_dict(), sort_keys=False)
        return text


def read_config_file(path: Path) -> dict[str, Any]:
    """Reads settings from a YAML file.

    Raises:
        UsageError: The file cannot be read or is no mapping of settings to values.
    """
    try:
        values = read_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"Cannot read the config file {path}: {error.strerror}.") from error
    except ValueError as error:
        raise UsageError(f"{path} is not valid YAML: {error}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise UsageError(f"{path} must hold `setting: value` lines, but it holds a {type(values).__name__}.")
    return values


def is_data_path(data: str) -> bool:
    """Whether images are named by their folder, rather than by a name that stands for them."""
    return data != DIGITS and ":" not in data


def _full_path(spec: str) -> str:
    return str(expand_path(spec).absolute())
