"""Rows, tables and commands in the terminal."""

import io
import re

import pytest

from tl_toolkit.cli import console
from tl_toolkit.cli.console import Screen, print_commands, print_row, print_table, print_worst_classes


@pytest.fixture
def out(monkeypatch: pytest.MonkeyPatch) -> Screen:
    """A stdout that is not a terminal."""
    monkeypatch.delenv("COLUMNS", raising=False)
    screen = Screen(file=io.StringIO(), highlight=False)
    monkeypatch.setattr(console, "_out", screen)
    return screen


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> Screen:
    """A terminal of 40 columns, without colours."""
    monkeypatch.setenv("COLUMNS", "40")
    screen = Screen(file=io.StringIO(), force_terminal=True, color_system=None, highlight=False)
    monkeypatch.setattr(console, "_out", screen)
    return screen


def printed(screen: Screen) -> list[str]:
    return [line.rstrip() for line in re.sub(r"\x1b\[[0-9;]*m", "", screen.file.getvalue()).splitlines()]


LONG = "downloaded when they are needed, and kept in a folder of the user's own"


def test_print_row_in_a_pipe_is_one_line(out: Screen):
    print_row(out, "weights", LONG * 20, "why")
    assert printed(out) == [f"weights     {LONG * 20}  why"]


def test_print_row_in_a_terminal_wraps_between_words_below_the_value(narrow: Screen):
    print_row(narrow, "weights", "downloaded when they are needed", "and kept in a folder")
    assert printed(narrow) == ["weights     downloaded when they are", "            needed  and kept in a folder"]


def test_print_row_folds_a_path_that_has_no_blank(narrow: Screen):
    print_row(narrow, "run", "runs/2026-11-21-tf_efficientnet_lite0-photos")
    assert printed(narrow) == ["run         runs/2026-11-21-tf_efficient", "            net_lite0-photos"]


def test_print_table_wraps_text_between_words_and_numbers_never(narrow: Screen):
    rows = [["/a/long path of/an image.png", "bees", "unknown file type or no image", "1,234.5 MiB"]]
    print_table(["image", "class", "error", "size"], rows, numbers=1)
    assert printed(narrow) == [
        "image      class  error             size",
        "/a/long    bees   unknown    1,234.5 MiB",
        "path              file type",
        "of/an             or no",
        "image.png         image",
    ]


def test_print_table_that_does_not_fit_is_a_block_for_each_row(narrow: Screen):
    columns = ["network", "accuracy", "features", "training", "file"]
    print_table(columns, [["resnet18", "81.2 % ± 2.5", "", "2 s", "42.7 MiB"], ["b", "1", "2", "3", "4"]], numbers=4)
    assert printed(narrow) == [
        "network     resnet18",
        "accuracy    81.2 % ± 2.5",
        "training    2 s",
        "file        42.7 MiB",
        "",
        "network     b",
        "accuracy    1",
        "features    2",
        "training    3",
        "file        4",
    ]


def test_print_table_in_a_pipe_is_one_line_a_row(out: Screen):
    print_table(["image", "error"], [[LONG, LONG], ["a", "b"]])
    assert printed(out) == [f"image{' ' * (len(LONG) - 3)}error", f"{LONG}  {LONG}", f"a{' ' * (len(LONG) + 1)}b"]


def test_print_commands_quotes_and_never_wraps_what_is_to_be_pasted(narrow: Screen):
    print_commands([["tl", "predict", "-m", "my runs/one", "IMAGE"], ["tl", "export", "x" * 40]])
    assert printed(narrow) == ["next        tl predict -m 'my runs/one' IMAGE", f"            tl export {'x' * 40}"]


def test_print_worst_classes_of_many_shows_five_and_of_faultless_ones_none(out: Screen):
    print_worst_classes({f"c{number}": number / 10 for number in range(10)})
    print_worst_classes(dict.fromkeys("abcdef", 1.0))
    assert printed(out) == [
        "", "worst of 10 classes  accuracy",
        *(f"c{number}{10 * number:>23}.0 %" for number in range(5)),
    ]  # fmt: skip
