import dataclasses
import re
from pathlib import Path

import pytest

import tl_toolkit as tl
from tl_toolkit.config.finetune import FinetuneConfig
from tl_toolkit.errors import ConfigError
from tl_toolkit.text import flag_of, named, naming_flags, plural


@pytest.mark.parametrize(
    ("name", "value", "in_python", "in_terminal"),
    [
        ("learning_rate", None, "learning_rate", "--lr"),
        ("probe_learning_rate", "auto", 'probe_learning_rate="auto"', "--probe-lr auto"),
        ("weights", "FILE", "weights=FILE", "--weights FILE"),
        ("data", Path("my photos"), 'data="my photos"', "--data 'my photos'"),
        ("in_channels", 3, "in_channels=3", "--in-channels 3"),
        ("download", True, "download=True", "--download"),
        ("feature_cache", False, "feature_cache=False", "--no-feature-cache"),
    ],
)
def test_named_says_a_setting_as_whoever_asks_would(name: str, value: object, in_python: str, in_terminal: str):
    assert named(name, value) == in_python
    with naming_flags():
        assert named(name, value) == in_terminal
    assert named(name, value) == in_python


def test_config_that_is_wrong_names_arguments_in_python_and_flags_in_a_terminal():
    wrong = {"learning_rate": -1, "loss": "cross-entropy", "classes": 1, "time_budget": "soon", "head": "neck"}
    for name, flag in (("learning_rate", "--lr"), ("loss", "--loss"), ("time_budget", "--time-budget")):
        with pytest.raises(ConfigError) as from_python:
            FinetuneConfig.from_values(wrong)
        with naming_flags(), pytest.raises(ConfigError) as from_terminal:
            FinetuneConfig.from_values(wrong)
        assert any(problem.startswith(f"{name} must be ") for problem in from_python.value.problems)
        assert any(problem.startswith(f"{flag} must be ") for problem in from_terminal.value.problems)


def test_no_message_of_the_package_spells_a_flag_out():
    """But for the terminal's own code, help, and whole commands, which are the same wherever they are read."""
    flags = "|".join(flag_of(field.name) for field in dataclasses.fields(FinetuneConfig))
    spelt = re.compile(rf"""["' (]({flags}|--resume|--trust)\b""")
    package = Path(tl.__file__).parent
    for path in sorted(package.rglob("*.py")):
        if path.parent.name in ("cli", "config"):
            continue
        code = re.sub(r'"""[\s\S]*?"""', "", path.read_text(encoding="utf-8"))
        for line in code.splitlines():
            assert not spelt.search(re.sub(r"tl (finetune|export|compare|data get|data pack) [^\"]*", "", line)), (
                f"{path}: {line}"
            )


@pytest.mark.parametrize(("count", "text"), [(0, "0 images"), (1, "1 image"), (2, "2 images"), (2000, "2,000 images")])
def test_plural_of_a_count_agrees_with_it(count: int, text: str):
    assert plural(count, "image") == text
