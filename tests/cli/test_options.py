"""The flags that are made from FinetuneConfig."""

import dataclasses
import re
from typing import Any

import pytest

from tests.helpers.terminal import run_tl
from tl_toolkit.config.finetune import FinetuneConfig
from tl_toolkit.text import flag_of


@pytest.fixture(scope="module")
def settings_help() -> dict[str, str]:
    """The help of each option in `tl finetune --help-all`, on one line, by flag."""
    shown = run_tl("finetune", "--help-all").stdout
    rows = re.findall(r"^│ [ *]*(--[a-z-]+)(.*(?:\n│ {20}.*)*)", shown, re.MULTILINE)
    return {flag: " ".join(text.replace("│", " ").split()) for flag, text in rows}


@pytest.mark.parametrize("field", dataclasses.fields(FinetuneConfig), ids=lambda field: field.name)
def test_help_all_of_finetune_shows_every_setting_with_its_help_and_default(
    field: "dataclasses.Field[Any]", settings_help: dict[str, str]
):
    setting = field.metadata["setting"]
    shown = settings_help[flag_of(field.name)]
    assert " ".join(setting.help.split()) in shown
    default = setting.default_help or str(field.default)
    assert (f"[default: {default}]" in shown) == (field.default is not False and field.default != ())
