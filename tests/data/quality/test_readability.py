from pathlib import Path

from tl_toolkit.data.images import ImageInfo
from tl_toolkit.data.quality.readability import check_splits
from tl_toolkit.data.sources.base import open_source
from tl_toolkit.events import Event, TaskProgress


def test_check_splits_with_bad_files_tells_each(photos: Path):
    (photos / "0" / "a.jpg").touch()
    (photos / "7" / "z.jpg").write_text("notes")
    events: list[Event] = []
    checked = check_splits(open_source(photos).splits, events.append)["train"]
    assert [(image.split, Path(image.path).name, image.reason) for image in checked.bad] == [
        ("train", "a.jpg", "the file is empty"),
        ("train", "z.jpg", "not an image that Pillow can read"),
    ]
    assert len(checked.results) == len(checked.readable) == 30
    assert set(checked.results.values()) == {ImageInfo(8, 8, "L")}
    assert events[-1] == TaskProgress("check", 32, 32)


def test_check_splits_of_a_dataset_that_fails_tells_which_item():
    class Failing:
        targets = (0, 1)

        def __len__(self) -> int:
            return 2

        def __getitem__(self, index: int) -> tuple[object, int]:
            raise ValueError("no pixels today")

    bad = check_splits(open_source(Failing()).splits, lambda event: None)["train"].bad
    assert [(image.path, image.reason) for image in bad] == [
        ("image 0", "no pixels today"),
        ("image 1", "no pixels today"),
    ]
