import dataclasses
import math
from pathlib import Path

import pytest
import yaml

from tl_toolkit.config.config_file import read_config_file
from tl_toolkit.config.fields import without_none
from tl_toolkit.config.finetune import FinetuneConfig
from tl_toolkit.errors import ConfigError, UnknownNameError, UsageError
from tl_toolkit.io.files import write_text
from tl_toolkit.text import format_value


def test_config_with_many_wrong_values_reports_all_together():
    with pytest.raises(ConfigError) as error:
        FinetuneConfig.from_values({"epochs": 0, "head": "foo", "learning_rate": -1, "val_split": 1.5, "seed": 1.5})
    assert error.value.problems == (
        "head must be swap or append or mlp, not 'foo'.",
        "val_split must be above 0 and below 1, not 1.5.",
        "epochs must be at least 1, not 0.",
        "learning_rate must be above 0, not -1.0.",
        "seed must be a whole number, not 1.5.",
    )


def test_config_with_unknown_setting_suggests_the_nearest():
    with pytest.raises(UnknownNameError, match="No setting is named 'learning_rat'. Did you mean learning_rate"):
        FinetuneConfig.from_values({"learning_rat": 0.1})


@pytest.mark.parametrize("value", [math.nan, math.inf, "fast", True])
def test_config_with_a_learning_rate_that_is_no_number_raises(value: object):
    with pytest.raises(ConfigError, match="learning_rate must be"):
        FinetuneConfig.from_values({"learning_rate": value})


def test_config_with_two_channels_raises():
    with pytest.raises(ConfigError, match="in_channels must be 1 or 3, not 2"):
        FinetuneConfig(in_channels=2)


def test_to_yaml_read_back_gives_the_same_config(tmp_path: Path):
    config = FinetuneConfig(
        arch="vgg16", data="Fotos für später/", learning_rate=3e-4, save=("full-model",), out="there"
    )
    path = tmp_path / "config.yaml"
    path.write_text(config.to_yaml())
    assert FinetuneConfig.from_values(read_config_file(path)) == dataclasses.replace(config, out=None)


def test_config_file_with_exponents_reads_numbers(tmp_path: Path):
    path = tmp_path / "config.yaml"
    path.write_text("learning_rate: 1e-3\nweight_decay: 0\n")
    config = FinetuneConfig.from_values(read_config_file(path))
    assert (config.learning_rate, config.weight_decay) == (0.001, 0.0)


@pytest.mark.parametrize("path", ["a\x85b", "\u2028", "c\u2029", "d\ne", "\ufeff", "~: #", "\ud800", "\x07"])
def test_to_yaml_of_a_path_with_odd_signs_reads_back_the_same(path: str, tmp_path: Path):
    config = FinetuneConfig(data=path)
    write_text(tmp_path / "config.yaml", config.to_yaml())
    assert FinetuneConfig.from_values(read_config_file(tmp_path / "config.yaml")) == config


@pytest.mark.parametrize(
    ("text", "message"),
    [("- a\n- b\n", "must hold `setting: value` lines"), ("a: [", "is not valid YAML")],
)
def test_config_file_of_another_form_raises(tmp_path: Path, text: str, message: str):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        read_config_file(path)


def test_config_file_that_is_missing_names_it(tmp_path: Path):
    with pytest.raises(UsageError, match=r"Cannot read the config file .*missing\.yaml: No such file"):
        read_config_file(tmp_path / "missing.yaml")


def test_every_setting_has_help_and_a_valid_default():
    assert yaml.safe_load(FinetuneConfig().to_yaml())["arch"] == "auto"
    for field in dataclasses.fields(FinetuneConfig):
        setting = field.metadata["setting"]
        assert setting.help.endswith(".")
        assert field.default is not None or setting.default_help


def test_located_makes_paths_full_and_leaves_names(in_folder: Path):
    (in_folder / "photos").mkdir()
    for name in ("auto", "imagenet", "package", "digits"):  # Folders of these names do not change what they mean.
        (in_folder / name).mkdir()
    config = FinetuneConfig(data="photos", weights="mine.pth").with_absolute_paths()
    assert (config.data, config.weights) == (str(in_folder / "photos"), str(in_folder / "mine.pth"))
    assert config.data_root == str(in_folder / "datasets")
    for data, weights in (
        ("digits", "auto"),
        ("torchvision:mnist", "imagenet"),
        ("digits", "package"),
        ("digits", "hf-hub:a/b"),
    ):
        named = FinetuneConfig(data=data, weights=weights).with_absolute_paths()
        assert (named.data, named.weights) == (data, weights)


def test_config_with_a_seed_beyond_32_bits_says_the_limit():
    with pytest.raises(ConfigError, match="seed must be at least 0 and at most 4294967295, not "):
        FinetuneConfig(seed=10**400)


def test_config_takes_the_flags_short_names_too():
    assert FinetuneConfig.from_values({"lr": 0.1, "probe_lr": 0.2}).learning_rate == 0.1
    with pytest.raises(ConfigError, match="learning_rate is given twice, also as lr"):
        FinetuneConfig.from_values({"learning_rate": 0.1, "lr": 0.2})


def test_config_with_one_logit_chooses_bce_and_refuses_cross_entropy():
    assert FinetuneConfig(classes=1).resolved_loss == "bce"
    assert FinetuneConfig(classes=2).resolved_loss == "cross-entropy"
    with pytest.raises(ConfigError, match=r"loss must be bce with one logit \(classes=1\)"):
        FinetuneConfig(classes=1, loss="cross-entropy")


def test_config_reads_options_of_the_network_as_mapping_or_list():
    for given in ({"drop_path_rate": 0.1, "activation": "relu"}, ["drop_path_rate=0.1", "activation=relu"]):
        config = FinetuneConfig.from_values({"arch_options": given})
        assert config.parsed_arch_options == {"drop_path_rate": 0.1, "activation": "relu"}
        assert FinetuneConfig.from_values(yaml.safe_load(config.to_yaml())) == config
    with pytest.raises(ConfigError, match="arch_options must be KEY=VALUE, not 'relu'"):
        FinetuneConfig(arch_options=("relu",))
    with pytest.raises(ConfigError, match="arch_options must be a list of text, not 'relu'"):
        FinetuneConfig(arch_options="relu")


@pytest.mark.parametrize(
    ("name", "value"), [("cache_size", "much"), ("probe_learning_rate", "fast"), ("probe_learning_rate", -1)]
)
def test_config_with_a_size_or_rate_that_is_none_says_so(name: str, value: object):
    with pytest.raises(ConfigError, match=f"{name} must be .*, not '{value}'"):
        FinetuneConfig.from_values({name: value})


def test_config_takes_sizes_and_rates_as_numbers_too():
    config = FinetuneConfig.from_values({"cache_size": 0, "probe_lr": 1e-3})
    assert (config.cache_bytes, config.uses_cache, config.probe_rate) == (0, False, 0.001)
    assert FinetuneConfig(cache_size="1kB", probe_learning_rate="auto").probe_rate is None
    assert not FinetuneConfig.from_values({"feature_cache": False}).uses_cache


BOMB = "a: &a [x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a]\nc: [*b, *b, *b, *b, *b, *b, *b, *b]\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, r"settings have no aliases \(\*name\); write the value"),
        ("[" * 100_000, "nested too deeply"),
        ("epochs: 2001-13-45", "month must be in 1..12"),
        (f"epochs: {'9' * 5000}", "Exceeds the limit"),
        ("strict: !!bool perhaps", "is not valid YAML"),
        ("data: \0", "special characters are not allowed"),
    ],
    ids=format_value,
)
def test_config_file_with_yaml_that_makes_no_sense_says_so(text: str, message: str, tmp_path: Path):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=message) as error:
        read_config_file(path)
    assert len(str(error.value)) < 1_000


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("learning_rate", 10**400, "learning_rate must be a number, not 1000"),
        ("epochs", 16**5000, "epochs must be below 2.63, not a number of thousands of digits"),
        ("epochs", 2**63, "epochs must be below 2.63, not 9223372036854775808"),
        ("cache_size", 16**5000, "cache_size must be text, not a number of thousands of digits"),
        ("cache_size", "9" * 400, "cache_size must be a size"),
        ("cache_size", ["20GiB"], "cache_size must be text, not \\['20GiB'\\]"),
        ("checkpoint_every", True, "checkpoint_every must be text, not True"),
        ("checkpoint_every", "9" * 5000, "checkpoint_every must be a number of steps"),
        ("arch_options", 5, "arch_options must be a list of text, not 5"),
        ("arch_options", ["a=["], "arch_options must have plain values, but that of 'a' is not"),
        ("arch_options", ["a=2001-01-01"], "arch_options must have plain values, but that of 'a' is not"),
        ("image_size", 10**6, "image_size must be at least 8 and at most 16384"),
    ],
    ids=format_value,
)
def test_config_with_a_value_that_nothing_can_be_made_of_says_so(name: str, value: object, message: str):
    with pytest.raises(ConfigError, match=message):
        FinetuneConfig.from_values({name: value})


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("10m", 600), ("2h", 7200), ("1.5h", 5400), ("0.5s", 0.5)])
def test_config_reads_a_time_budget_in_seconds(text: str, seconds: float):
    assert FinetuneConfig(time_budget=text).budget_seconds == seconds
    assert FinetuneConfig().budget_seconds is None


@pytest.mark.parametrize(
    "text", ["90", "0s", "0.0m", "-5s", "1d", "5 m", "1e3s", "s", "1.2345s", "٣s", "10S", "9" * 10 + "s"]
)
def test_config_with_a_time_budget_that_is_none_says_so(text: str):
    with pytest.raises(ConfigError, match="time_budget must be a time such as 90s, 10m or 2h, not"):
        FinetuneConfig(time_budget=text)


def test_config_with_many_wrong_ways_of_training_reports_all_together():
    wrong = {"norm": "none", "layer_decay": 0, "ema": 1, "mixup": -1, "cutmix": -0.5, "patience": 0, "views": 0}
    with pytest.raises(ConfigError) as error:
        FinetuneConfig.from_values({**wrong, "tune": "everything", "time_budget": "soon", "label_smoothing": 1.0})
    assert sorted(problem.split()[0] for problem in error.value.problems) == sorted(
        [*wrong, "tune", "time_budget", "label_smoothing"]
    )


def test_config_by_default_leaves_to_the_run_what_depends_on_data_and_network():
    config = FinetuneConfig()
    assert (config.arch, config.tune) == ("auto", "auto")
    left_open = ("epochs", "probe_epochs", "optimizer", "learning_rate", "norm", "ema", "label_smoothing", "patience")
    assert all(getattr(config, name) is None for name in left_open)
    assert FinetuneConfig.from_values(yaml.safe_load(config.to_yaml())) == config


@pytest.mark.parametrize("value", ["", " ", "\n"])
@pytest.mark.parametrize(
    "name",
    [field.name for field in dataclasses.fields(FinetuneConfig) if without_none(field.type) is str],
)
def test_config_with_an_empty_path_or_name_refuses_it(name: str, value: str):
    with pytest.raises(ConfigError, match=f"^(- )?{name} must not be empty: leave it out, or say what it is."):
        FinetuneConfig(**{name: value})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"task": "multi-label", "loss": "cross-entropy"},
            'loss must be bce with several labels an image (task="multi-label"): cross-entropy makes the probabilities '
            "of all classes sum to 1.",
        ),
        (
            {"task": "soft", "loss": "bce"},
            'loss must be cross-entropy with soft labels (task="soft"), which sum to 1: bce judges each class on its '
            "own.",
        ),
        (
            {"task": "multi-label", "classes": 1},
            'classes=1 separates two classes by one logit; several labels an image (task="multi-label") need a logit '
            "for each.",
        ),
        (
            {"task": "multi-label", "sampler": "balanced"},
            'sampler="balanced" shows classes equally often, but with several labels an image (task="multi-label") an '
            'image is not of one class; class_weights="balanced" weights the labels instead.',
        ),
        (
            {"task": "soft", "class_weights": "balanced"},
            'class_weights="balanced" needs the size of each class, which soft labels (task="soft") do not have.',
        ),
    ],
)
def test_config_that_contradicts_its_task_says_why(settings: dict[str, object], message: str):
    with pytest.raises(ConfigError) as raised:
        FinetuneConfig(**settings)  # type: ignore[arg-type]
    assert str(raised.value) == message


def test_config_of_several_labels_chooses_bce():
    assert FinetuneConfig(task="multi-label").resolved_loss == "bce"
    assert FinetuneConfig(task="soft").resolved_loss == "cross-entropy"
