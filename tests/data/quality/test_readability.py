from pathlib import Path

from tl_toolkit.data.quality.readability import check_splits
from tl_toolkit.data.sources.base import open_source


def test_check_splits_with_bad_files_tells_each(photos: Path):
    (photos / "0" / "a.jpg").touch()
    (photos / "7" / "z.jpg").write_text("notes")
    told: list[tuple[int, int]] = []
    checked = check_splits(open_source(photos).splits, lambda done, total: told.append((done, total)))["train"]
    assert [(image.split, Path(image.path).name, image.reason) for image in checked.bad] == [
        ("train", "a.jpg", "the file is empty"),
        ("train", "z.jpg", "not an image that Pillow can read"),
    ]
    assert len(checked.facts) == len(checked.readable) == 30
    assert {(fact.width, fact.height, fact.mode) for fact in checked.facts.values()} == {(8, 8, "L")}
    assert told[-1] == (32, 32)


def test_check_splits_of_a_dataset_that_fails_tells_which_item():
    class Failing:
        targets = (0, 1)

        def __len__(self) -> int:
            return 2

        def __getitem__(self, index: int) -> tuple[object, int]:
            raise ValueError("no pixels today")

    bad = check_splits(open_source(Failing()).splits, lambda done, total: None)["train"].bad
    assert [(image.path, image.reason) for image in bad] == [
        ("image 0", "no pixels today"),
        ("image 1", "no pixels today"),
    ]
