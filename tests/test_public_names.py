"""The names of the Python API."""

import ast
from pathlib import Path

import pytest

import tl_toolkit as tl


def test_public_names_of_the_type_checker_are_those_of_the_table():
    tree = ast.parse(Path(tl.__file__).read_text(encoding="utf-8"))
    [block] = [node for node in tree.body if isinstance(node, ast.If)]
    typed = {
        alias.asname: node.module.removeprefix("tl_toolkit.")
        for node in block.body
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }
    assert typed == tl._MODULES
    assert tl.__all__ == ["__version__", *tl._MODULES]


@pytest.mark.parametrize("name", tl.__all__)
def test_public_name_is_defined_in_its_module(name: str):
    assert getattr(tl, name) is not None
    assert name in dir(tl)


def test_finetune_with_a_config_and_settings_says_that_one_is_too_many():
    with pytest.raises(tl.ToolkitError, match="Pass either config or settings \\(seed\\), not both"):
        tl.finetune(tl.FinetuneConfig(), seed=1)
