"""FinetuneConfig: every setting of a run, with its default, its limits and its help, in one place.

Its fields are the flags of ``tl finetune``, the arguments of ``tl_toolkit.finetune`` and the keys of config files.
"""

import dataclasses
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import yaml

from tl_toolkit.config import choices
from tl_toolkit.config.checks import AUTO, problems_between
from tl_toolkit.config.choices import DIGITS, MAX_THREADS, NAMED_WEIGHTS, RESUMABLE, Loss
from tl_toolkit.config.fields import coerce, flag_name, read_yaml, setting, validate
from tl_toolkit.errors import ConfigError, UnknownNameError
from tl_toolkit.input_spec import LARGEST_SIDE
from tl_toolkit.io.files import expand_path, parse_size
from tl_toolkit.text import format_value

SECONDS = {"s": 1, "m": 60, "h": 3600}

UNICODE_BREAKS = "\x85\u2028\u2029"
"""PyYAML writes them unquoted and reads them as line breaks; a path may contain one."""

PANELS = ("Model", "Data", "Training", "Augmentation and input", "Output")
_model, _data, _training, _input, _output = (functools.partial(setting, panel) for panel in PANELS)


@dataclass(frozen=True, kw_only=True, slots=True)
class FinetuneConfig:
    """Settings of one fine-tuning run, validated together on creation.

    Raises:
        ConfigError: Some settings are wrong; the message lists them all.
    """

    arch: str = _model(
        "auto",
        "Network: a name from `tl models`, `torchvision:NAME` or `timm:NAME`; auto compares the networks whose weights "
        "are on this machine on a sample of your images, as `tl rank` does.",
    )
    weights: str = _model(
        "auto",
        "Pretrained weights: auto, imagenet, package, bundled, none, a FILE, a URL#sha256=HEX or hf-hub:ORG/NAME.",
    )
    arch_options: tuple[str, ...] = _model(
        (), "An option of the network itself, such as drop_path_rate=0.1 or activation=relu; repeatable."
    )
    head: choices.Head = _model(
        "swap", "swap replaces the classifier, append adds a Linear after its logits, mlp replaces it by two layers."
    )
    tune: choices.Tune = _model(
        "auto",
        "What trains: the head (linear-probe), then the last stage (last-stage), everything at once (full) or the head "
        "and then everything (lp-ft); auto starts with the head and trains more as long as that pays.",
    )
    time_budget: str | None = _training(
        None,
        "Maximum time of the whole run, such as 90s, 10m or 2h; with more time, auto tries more.",
        default_help="none; auto trains stages of about half a minute",
    )

    data: str = _data("digits", f"Images: {choices.KINDS}.")
    classes: int | None = _data(
        None,
        "Number of classes that the data must have; 1 separates two classes by one logit.",
        ge=1,
        default_help="from the data",
    )
    val_split: float = _data(0.1, "Share of train to use as val where the data has no val split.", gt=0, lt=1)
    train_images: int | None = _data(None, "Number of images to train on.", ge=2, default_help="all")
    val_images: int | None = _data(
        None, "Number of images in val, instead of --val-split.", ge=1, default_help="by --val-split, or all"
    )
    test_images: int | None = _data(None, "Number of images to test on.", ge=1, default_help="all")
    draw: choices.SubsetOrder = _data(
        "stratified",
        "How val and the numbers of images are drawn: stratified draws at random from each class; in-order takes val "
        "from the end of train, and the others from the beginning.",
    )
    path_column: str | None = _data(
        None,
        "Column of a table with the images: paths relative to the table, absolute paths or URLs, or the images "
        "themselves.",
        default_help="found by name",
    )
    label_column: tuple[str, ...] = _data(
        (), "Column of a table with the labels; repeatable, for a table with a column a label.", metavar="NAME"
    )
    label_separator: str | None = _data(
        None, "What separates several labels in a cell of a table, such as ';'.", default_help="a cell is one label"
    )
    split_column: str | None = _data(
        None, "Column of a table with train, val or test.", default_help="found by name, if there is one"
    )
    group_column: str | None = _data(
        None,
        "Column of a table with what is never divided between splits, such as a patient or a video.",
        default_help="none",
    )
    image_root: str | None = _data(
        None, "Folder or URL that the paths in a table are relative to.", default_help="the folder of the table"
    )
    task: choices.DataTask = _data(
        "auto",
        "multi-class: one class an image; multi-label: any number of them; soft: shares of classes that sum to 1; auto "
        "tells by the labels.",
    )
    streaming: bool = _data(
        False, "Read a dataset of the Hugging Face Hub part by part, instead of downloading all of it first."
    )
    data_root: str = _data("datasets", "Folder of the torchvision datasets.")
    download: bool = _data(False, "Download a torchvision dataset that is not there yet.")
    strict: bool = _data(False, "Stop at unreadable images instead of skipping them.")
    duplicates: choices.Duplicates = _data(
        "warn",
        "Identical images: warn reports them, drop removes copies from train and those of test from val, fail stops.",
    )

    epochs: int | None = _training(
        None,
        "Passes over train.",
        ge=1,
        default_help="6; 4 for the last stage, 8 with a time budget; --probe-epochs with linear-probe",
    )
    probe_epochs: int | None = _training(
        None, "Epochs of the probe before fine-tuning.", ge=1, default_help="12 with L-BFGS, 48 with gradient descent"
    )
    patience: int | None = _training(
        None,
        "Stop fine-tuning after N evaluations in a row without an improvement on val.",
        ge=1,
        default_help="all epochs",
    )
    views: int = _training(1, "Views of an image for frozen features: the image, its mirror image, then crops.", ge=1)
    batch_size: int = _training(
        32, "Images per step, over all processes and parts; 256 where only the head trains.", ge=1
    )
    accumulate: int = _training(
        1, "Compute a step in N parts, one after the other, which needs less memory; --batch-size counts all.", ge=1
    )
    learning_rate: float | None = _training(
        None, "Peak learning rate.", gt=0, default_help="by optimizer and network; --probe-lr with linear-probe"
    )
    head_learning_rate: float | None = _training(
        None, "Peak learning rate of the head.", gt=0, default_help="same as --lr"
    )
    probe_learning_rate: str | None = _training(
        None,
        "Train the probe by gradient descent with this peak learning rate; auto tries a grid of rates and weight "
        "decays and keeps the best on val.",
        default_help="none, L-BFGS solves the probe",
        accepts_number=True,
    )
    weight_decay: float | None = _training(
        None, "Weight decay; biases and norms have none.", ge=0, default_help="by optimizer"
    )
    optimizer: str | None = _training(
        None,
        "adamw, sgd (with Nesterov momentum), momentum (without) or any other timm optimizer; lbfgs for linear-probe.",
        default_help="adamw; lbfgs for the probe",
    )
    momentum: float = _training(0.9, "Momentum of the optimizers that use it.", ge=0, lt=1)
    scheduler: choices.Scheduler | None = _training(
        None,
        "Schedule of the learning rate after the warm-up.",
        default_help="cosine; constant after a probe where BatchNorm is frozen",
    )
    warmup: float | None = _training(
        None,
        "Share of the steps over which the learning rate warms up.",
        ge=0,
        lt=1,
        default_help="0.1; 0.4 where BatchNorm trains after a probe",
    )
    clip_gradient: float | None = _training(None, "Maximum norm of the gradient.", gt=0, default_help="off")
    loss: Loss | None = _training(
        None,
        "cross-entropy, or bce: each class on its own.",
        default_help="cross-entropy; bce with --classes 1 or several labels",
    )
    label_smoothing: float | None = _training(
        None,
        "Share of each target that is spread over all classes.",
        ge=0,
        lt=1,
        default_help="0.1; 0 with two classes, several labels or soft labels",
    )
    norm: choices.Norm | None = _training(
        None,
        "BatchNorm while fine-tuning: frozen keeps the pretrained statistics, batch learns new ones.",
        default_help="frozen for pretrained networks with depthwise convolutions",
    )
    layer_decay: float = _training(
        1.0, "Factor of the learning rate from each layer of the backbone to the one before it.", gt=0, le=1
    )
    ema: float | None = _training(
        None,
        "Evaluate and save a moving average of the fine-tuned weights, with this decay per step; 0 is off.",
        ge=0,
        lt=1,
        default_help="0.98 with pretrained weights, 0.998 with a constant rate",
    )
    mixup: float = _training(0.0, "Alpha of mixup while fine-tuning; 0 is off.", ge=0)
    cutmix: float = _training(0.0, "Alpha of CutMix while fine-tuning; 0 is off.", ge=0)
    class_weights: choices.ClassWeights = _training(
        "none",
        "balanced weights the loss by inverse class frequency; of several labels, the images with a label then count "
        "as much as those without it.",
    )
    sampler: choices.Sampler = _training(
        "shuffle", "shuffle shows each image of train once per epoch, balanced shows every class equally often."
    )
    drop_last: bool = _training(False, "Drop the last batch of an epoch where it is smaller than the others.")
    eval_every: int | None = _training(
        None, "Also evaluate on val every N steps.", ge=1, default_help="after each epoch only"
    )
    log_every: int | None = _training(None, "Log the training loss every N steps.", ge=1, default_help="off")
    seed: int = _training(0, "Seed of the split, the order, the augmentation and the new layers.", ge=0, le=2**32 - 1)

    augment: choices.Augment = _input(
        "light",
        "pad-crop: shifts and mirroring, as for CIFAR; light: random crops and mirroring; strong: also TrivialAugment "
        "and erasing.",
    )
    image_size: int | None = _input(
        None, "Height and width of the input in pixels.", ge=8, le=LARGEST_SIDE, default_help="from the weights"
    )
    in_channels: int | None = _input(
        None, "1 for grayscale or 3 for colour.", ge=1, le=3, default_help="from the weights"
    )

    feature_cache: bool = _output(
        True, "Cache the output of frozen layers on disk for later epochs and runs; without it they run in every epoch."
    )
    cache_size: str | None = _output(
        None,
        "Maximum size of the cache, such as 500MB or 20GiB; 0 writes nothing to it.",
        default_help="10GiB, or half of the free disk space",
        accepts_number=True,
    )
    checkpoint_every: str | None = _output(
        None,
        "Write a checkpoint every N steps or at an interval: 50, 30s, 5m or 1h.",
        default_help="every epoch and 5m",
        accepts_number=True,
    )
    device: str = _output("auto", "auto, cpu, cuda, cuda:N or mps.")
    precision: choices.Precision = _output("auto", "auto is bf16 where the device computes it natively.")
    compile: bool = _output(
        False, "Compile the network with torch.compile where it trains on images; on CPUs this was slower."
    )
    workers: int | None = _output(None, "Processes that decode images.", ge=0, default_help="by cores and images")
    threads: int | None = _output(
        None,
        "Cores to use; 1 on a machine that other programs keep busy. Another number rounds sums differently.",
        ge=1,
        le=MAX_THREADS,
        default_help="OMP_NUM_THREADS, else all that it may use",
    )
    out: str | None = _output(None, "Folder of the run; it must not exist.", default_help="runs/DATE-ARCH-DATA")
    tensorboard: bool = _output(False, "Write TensorBoard event files into the run folder.")
    report: bool = _output(True, "Write report.html into the run folder: results, curves, mistakes, data.")
    save: tuple[str, ...] = _output(
        (), "Also write the model in another format, as `tl export` does; repeatable.", choices=choices.save_formats
    )

    def __post_init__(self) -> None:
        problems = [
            problem for field in dataclasses.fields(self) if (problem := validate(field, getattr(self, field.name)))
        ]
        problems += problems_between(self)
        if problems:
            raise ConfigError(problems)

    @classmethod
    def from_values(cls, *sources: Mapping[str, Any]) -> Self:
        """Return a config made of values by name; `lr` stands for `learning_rate` too.

        Args:
            sources: Settings by name; later sources override earlier ones.

        Raises:
            UnknownNameError: A name is not a setting.
            ConfigError: Some settings are wrong; the message lists them all.
        """
        fields = {field.name: field for field in dataclasses.fields(cls)}
        short = {flag_name(field): field for field in fields.values()}
        merged: dict[str, Any] = {}
        for source in sources:
            values: dict[str, Any] = {}
            for name, value in source.items():
                field = fields.get(name) or short.get(name)
                if field is None:
                    text = name if isinstance(name, str) else format_value(name)
                    raise UnknownNameError("setting", text, [*fields, *short])
                if field.name in values:
                    raise ConfigError([f"{field.name} is given twice, also as {flag_name(field)}."])
                values[field.name] = coerce(field, value)
            merged |= values
        return cls(**merged)

    @property
    def one_logit(self) -> bool:
        """Whether one logit separates two classes."""
        return self.classes == 1

    @property
    def resolved_loss(self) -> Loss:
        """The loss, or the default one for `classes` and `task`."""
        return self.loss or ("bce" if self.one_logit or self.task == "multi-label" else "cross-entropy")

    @property
    def probe_rate(self) -> float | None:
        """`probe_learning_rate` if it is a number, else None."""
        return None if self.probe_learning_rate in (None, AUTO) else float(self.probe_learning_rate)

    @property
    def uses_cache(self) -> bool:
        """Whether the run may write to the feature cache."""
        return self.feature_cache and self.cache_bytes != 0

    @property
    def cache_bytes(self) -> int | None:
        """`cache_size` in bytes, or None."""
        return None if self.cache_size is None else parse_size(self.cache_size)

    @property
    def checkpoint_steps(self) -> int | None:
        """`checkpoint_every` if it is a number of steps, else None."""
        every = self.checkpoint_every
        return int(every) if every and every.isdecimal() else None

    @property
    def checkpoint_seconds(self) -> float | None:
        """`checkpoint_every` in seconds if it is a time, else None."""
        every = self.checkpoint_every
        return float(every[:-1]) * SECONDS[every[-1]] if every and not every.isdecimal() else None

    @property
    def budget_seconds(self) -> float | None:
        """`time_budget` in seconds, or None."""
        return None if self.time_budget is None else float(self.time_budget[:-1]) * SECONDS[self.time_budget[-1]]

    @property
    def parsed_arch_options(self) -> dict[str, Any]:
        """`arch_options` as a mapping; values are parsed as YAML."""
        return {name: read_yaml(value) for name, _, value in (option.partition("=") for option in self.arch_options)}

    def with_absolute_paths(self) -> Self:
        """Return the same settings with absolute paths, valid in any working directory."""
        return dataclasses.replace(
            self,
            data=_full_path(self.data) if is_data_path(self.data) else self.data,
            weights=self.weights if self.weights in NAMED_WEIGHTS or ":" in self.weights else _full_path(self.weights),
            data_root=_full_path(self.data_root),
            image_root=_full_path(self.image_root)
            if self.image_root and "://" not in self.image_root
            else self.image_root,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values without `out`, so that reusing them starts a new run."""
        values = {name: value for name, value in dataclasses.asdict(self).items() if name != "out"}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    def to_resume(self) -> dict[str, Any]:
        """Return `to_dict` without the settings that may change on resume; the rest determines the weights."""
        free = RESUMABLE | {"feature_cache", "cache_size", "strict", "download", "save", "tensorboard", "report"}
        return {name: value for name, value in self.to_dict().items() if name not in free}

    def to_yaml(self) -> str:
        """Return `to_dict` as YAML."""
        text: str = yaml.safe_dump(self.to_dict(), sort_keys=False, allow_unicode=True)
        if any(sign in text for sign in UNICODE_BREAKS):
            text = yaml.safe_dump(self.to_dict(), sort_keys=False)
        return text


def is_data_path(data: str) -> bool:
    """Return whether `data` is a folder rather than the name of a dataset."""
    return data != DIGITS and ":" not in data


def _full_path(spec: str) -> str:
    return str(expand_path(spec).absolute())
