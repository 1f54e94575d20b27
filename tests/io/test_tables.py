from pathlib import Path
from typing import Any

import pytest

from tl_toolkit.errors import DataError
from tl_toolkit.io import tables
from tl_toolkit.io.tables import Table, read_table


def read(folder: Path, content: str | bytes, name: str = "birds.csv") -> Table:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_table(path, lambda column: column not in ("other", ""))


def message_of(folder: Path, content: str | bytes, name: str = "birds.csv") -> str:
    with pytest.raises(DataError) as raised:
        read(folder, content, name)
    return str(raised.value).replace(f"{folder}/", "")


SIMPLE = {"path": ["a b.png", "c.png"], "label": ["wren", "crow"]}


@pytest.mark.parametrize(
    "content",
    [
        "path,label,other\na b.png,wren,1\nc.png,crow,2\n",
        "path,label,other\na b.png,wren,1\nc.png,crow,2",
        "\ufeffpath,label,other\r\na b.png,wren,1\r\nc.png,crow,2\r\n",
        'path,"label", other\n"a b.png",wren,"1, ""2"""\nc.png,"crow",2\n',
        "\n\npath,label,other\n\na b.png,wren,1\n,,\n   \nc.png,crow,2\n\n",
        "path,label,other\ra b.png,wren,1\rc.png,crow,2\r",
    ],
)
def test_read_csv_gives_the_wanted_columns(tmp_path: Path, content: str) -> None:
    table = read(tmp_path, content)
    assert (table.name, table.columns, table.cells, table.notes) == (
        "birds.csv",
        ("path", "label", "other"),
        SIMPLE,
        [],
    )


def test_read_csv_separated_by_semicolons_tells(tmp_path: Path) -> None:
    table = read(tmp_path, "path;label\na b.png;wren\nc.png;crow\n")
    assert table.cells == SIMPLE
    assert table.notes == ["birds.csv has no comma in its first line: its columns are separated by ';'."]


def test_read_tsv_is_separated_by_tabs(tmp_path: Path) -> None:
    table = read(tmp_path, "path\tlabel\na b.png\twren\nc.png\tcrow\n", "birds.tsv")
    assert (table.cells, table.notes) == (SIMPLE, [])


def test_read_csv_numbers_rows_by_their_first_line(tmp_path: Path) -> None:
    assert list(read(tmp_path, "path,label\na,b\n\nc,d\n").lines) == [2, 4]
    assert list(read(tmp_path, 'path,label\na,"b\nb"\n\nc,d\n').lines) == [2, 5]


def test_read_csv_keeps_equal_cells_once(tmp_path: Path) -> None:
    cells = read(tmp_path, "path,label\n" + "".join(f"{index}.png,wren bird\n" for index in range(30))).cells
    assert len({id(cell) for cell in cells["label"]}) == 1


def test_read_csv_in_chunks_gives_all_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "CHUNK", 3)
    table = read(tmp_path, "path,label\n" + "".join(f'{index}.png,"{index % 2}\n"\n' for index in range(10)))
    assert table.cells["path"] == [f"{index}.png" for index in range(10)]
    assert table.cells["label"] == [f"{index % 2}\n" for index in range(10)]
    assert list(table.lines) == list(range(2, 22, 2))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "birds.csv is empty: a table has a line with the names of its columns, and a row for each image."),
        ("\n \n", "birds.csv is empty: a table has a line with the names of its columns, and a row for each image."),
        ("path,label\n\n", "birds.csv has a first line (path, label), and no rows below it."),
        (
            "path,label,label\na,b,c\n",
            "birds.csv has several columns of one name (label). Rename them, or take one out.",
        ),
        (
            "path,label\na,b\nc\nd,e,f\n",
            "birds.csv has rows with another number of cells than its first line, which has 2 (line 3: 1, line 4: 3). "
            "Put a cell with a separator in it into quotes.",
        ),
        (
            'path,label\na,b\n"c,d\ne,f\n',
            "birds.csv has a quote that is never closed, at line 4 or before it.",
        ),
        (
            'path,label\na,b\n"c"d,e\n',
            "Line 3 of birds.csv is not CSV: ',' expected after '\"'. A quote within quotes is written twice.",
        ),
        (
            "path,label\na,b\nc,Zaunkönig\n".encode("latin-1"),
            "Line 3 of birds.csv is not UTF-8. Save it as UTF-8, or convert it by its own encoding: iconv -f "
            "ISO-8859-1 -t UTF-8.",
        ),
        (
            "path,label\na,b\n".encode("utf-16"),
            "birds.csv is UTF-16: save it as UTF-8, or run iconv -f UTF-16 -t UTF-8.",
        ),
        (
            b"PK\3\4\0\0",
            "birds.csv is no text, although its name says that it is a table: save it as CSV in UTF-8.",
        ),
    ],
)
def test_read_csv_that_is_damaged_is_refused(tmp_path: Path, content: str | bytes, message: str) -> None:
    assert message_of(tmp_path, content) == message


def test_read_json_lines_gives_the_wanted_columns(tmp_path: Path) -> None:
    lines = (
        '\ufeff{"path": "a", "label": ["x", "y"]}\r\n\n{"path": "b", "label": [], "other": 1}\n{"path": "c", "set": 3}'
    )
    table = read(tmp_path, lines, "birds.jsonl")
    assert table.columns == ("path", "label", "other", "set")
    assert table.cells == {"path": ["a", "b", "c"], "label": [["x", "y"], [], None], "set": [None, None, 3]}
    assert list(table.lines) == [1, 3, 4]


OBJECT = '{"path": "cat/1.jpg", "label": "cat"}'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("\n", "birds.jsonl is empty: a table of JSON lines has an object for each image, one on each line."),
        (
            '{"path": "a"}\n[1]\n',
            f"Line 2 of birds.jsonl is [1], not an object: each line is one such as {OBJECT}.",
        ),
        (
            '{"path": "a"}\n{"path": \n',
            "Line 2 of birds.jsonl is not JSON (Input data was truncated): each line is an object such as "
            + OBJECT
            + ".",
        ),
        (
            b'{"path": "\xe9"}\n',
            "Line 1 of birds.jsonl is not UTF-8. Save it as UTF-8, or convert it by its own encoding: iconv -f "
            "ISO-8859-1 -t UTF-8.",
        ),
    ],
)
def test_read_json_lines_that_are_damaged_are_refused(tmp_path: Path, content: Any, message: str) -> None:
    assert message_of(tmp_path, content, "birds.jsonl") == message


def test_read_table_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"birds\.csv cannot be read: No such file or directory\."):
        read_table(tmp_path / "birds.csv", bool)
