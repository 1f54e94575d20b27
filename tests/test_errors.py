import pickle

from tl_toolkit.errors import ConfigError, ImageError, ToolkitError, UnknownNameError, UsageError


def test_unknown_name_with_near_names_suggests_them():
    error = UnknownNameError("split", "tset", ["train", "val", "test"])
    assert str(error) == "No split is named 'tset'. Did you mean test?"


def test_unknown_name_far_from_few_choices_lists_them():
    error = UnknownNameError("split", "xyz", ["train", "val"], "See the docs.")
    assert str(error) == "No split is named 'xyz'. Choose from train, val. See the docs."


def test_config_error_with_many_problems_lists_all():
    assert str(ConfigError(["a is wrong.", "b is wrong."])) == "- a is wrong.\n- b is wrong."
    assert str(ConfigError(["a is wrong."])) == "a is wrong."


def test_usage_errors_belong_to_the_tree():
    assert issubclass(ConfigError, UsageError)
    assert issubclass(UnknownNameError, UsageError)
    assert issubclass(UsageError, ToolkitError)


def test_image_error_passes_between_processes():
    error = pickle.loads(pickle.dumps(ImageError("cat.png", "the file is empty")))
    assert (error.name, error.reason, str(error)) == ("cat.png", "the file is empty", "cat.png: the file is empty")
