import pickle
import re

from tl_toolkit import errors
from tl_toolkit.errors import ConfigError, ImageError, ToolkitError, UnknownNameError


def test_unknown_name_with_near_names_suggests_them():
    error = UnknownNameError("split", "tset", ["train", "val", "test"])
    assert str(error) == "No split is named 'tset'. Did you mean test?"


def test_unknown_name_far_from_few_choices_lists_them():
    error = UnknownNameError("split", "xyz", ["train", "val"], "See the docs.")
    assert str(error) == "No split is named 'xyz'. Choose from train, val. See the docs."


def test_config_error_with_many_problems_lists_all():
    assert str(ConfigError(["a is wrong.", "b is wrong."])) == "- a is wrong.\n- b is wrong."
    assert str(ConfigError(["a is wrong."])) == "a is wrong."


def subclasses(root: type, depth: int = 0) -> list[tuple[int, str]]:
    below = [entry for child in root.__subclasses__() for entry in subclasses(child, depth + 1)]
    return [(depth, root.__name__), *(below if root.__module__ == errors.__name__ else [])]


def test_tree_in_the_docstring_shows_every_error_below_its_base():
    drawn = re.findall(r"^    ([│├└─ ]*)(\w+Error)", errors.__doc__, re.MULTILINE)
    assert [(len(lines) // 4, name) for lines, name in drawn] == subclasses(ToolkitError)


def test_image_error_passes_between_processes():
    error = pickle.loads(pickle.dumps(ImageError("cat.png", "the file is empty")))
    assert (error.name, error.reason, str(error)) == ("cat.png", "the file is empty", "cat.png: the file is empty")
