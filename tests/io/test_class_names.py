from pathlib import Path

import pytest

from tl_toolkit.errors import UsageError
from tl_toolkit.io.class_names import HOW, read_class_names


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("names.txt", "cat\ndog\nünd\n"),
        ("names.txt", "\ufeffcat\r\ndog\r\nünd\r\n\r\n"),
        ("names.json", '["cat", "dog", "ünd"]'),
        ("names.json", '{"cat": 0, "ünd": 2, "dog": 1}'),
        ("names.json", '{"1": "dog", "0": "cat", "2": "ünd"}'),
    ],
)
def test_read_class_names_takes_lines_and_json(name: str, text: str, tmp_path: Path):
    (tmp_path / name).write_text(text, encoding="utf-8", newline="")
    assert read_class_names(tmp_path / name) == ("cat", "dog", "ünd")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("n.txt", "cat\n\ndog\n", f"FILE has no name in place 2 of 3: {HOW}."),
        ("n.txt", "cat\n", f"FILE has 1 class name, but a classifier has two or more: {HOW}."),
        (
            "n.txt",
            "crane\ncat\ncrane\n",
            "FILE has names that repeat: 'crane' (2 times). Make them different, such as by a number: predictions are "
            "told apart by them.",
        ),
        ("n.json", '{"cat": 0, "dog": 2}', f"FILE does not name the outputs 0 to 1 once each: {HOW}."),
        ("n.json", '["cat", 3]', f"FILE holds ['cat', 3]: {HOW}."),
    ],
)
def test_read_class_names_that_are_none_says_why(name: str, text: str, message: str, tmp_path: Path):
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError) as caught:
        read_class_names(tmp_path / name)
    assert str(caught.value) == message.replace("FILE", str(tmp_path / name))


def test_read_class_names_of_no_text_says_what_to_give(tmp_path: Path):
    (tmp_path / "n.txt").write_bytes(b"\xff\xfe\x00cat")
    with pytest.raises(UsageError, match="is no UTF-8 text: give a text file with one name on each line"):
        read_class_names(tmp_path / "n.txt")
    with pytest.raises(UsageError, match="Cannot read the class names in .*nowhere: No such file"):
        read_class_names(tmp_path / "nowhere")
