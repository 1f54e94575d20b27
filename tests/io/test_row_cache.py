import os
from pathlib import Path

import pytest
import torch

from tl_toolkit.errors import ToolkitError
from tl_toolkit.io.row_cache import (
    RowCache,
    Rows,
    cache_folder,
    default_limit,
    evict,
    list_entries,
    remove,
)

IDENTITIES = [bytes([number]) * 16 for number in range(6)]


def store(folder: Path, **key: object) -> RowCache:
    return RowCache(folder, {"arch": "resnet18", **key}, "resnet18 up to fc")


def rows_of(found: RowCache, identities: list[bytes | None]) -> torch.Tensor:
    return Rows(found.parts, *found.find(identities)).take(torch.arange(len(identities)))


def test_rows_written_are_found_by_another_run(tmp_path: Path):
    values = torch.rand(6, 4).bfloat16()
    first = store(tmp_path)
    first.write(IDENTITIES[:4], values[:4])
    first.write(IDENTITIES[4:], values[4:])
    assert torch.equal(rows_of(first, IDENTITIES), values)
    assert torch.equal(rows_of(store(tmp_path), IDENTITIES[::-1]), values.flip(0))


def test_rows_too_large_for_memory_are_read_from_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tl_toolkit.io.row_cache.SMALL_BYTES", 0)
    values = torch.rand(6, 2, 3)
    first = store(tmp_path)
    first.write(IDENTITIES[:4], values[:4])
    first.write(IDENTITIES[4:], values[4:])
    rows = Rows(first.parts, *first.find(IDENTITIES))
    picked = torch.tensor([5, 0, 5, 3])
    for _ in range(2):
        assert torch.equal(rows.take(picked), values[picked])
    remove(list_entries(tmp_path))
    assert torch.equal(rows.take(picked), values[picked])  # what a run has open stays readable


def test_rows_of_another_key_are_not_found(tmp_path: Path):
    store(tmp_path).write(IDENTITIES, torch.rand(6, 2))
    part, _ = store(tmp_path, precision="fp32").find(IDENTITIES)
    assert part.tolist() == [-1] * 6


def test_unknown_identities_are_missing(tmp_path: Path):
    found = store(tmp_path)
    found.write(IDENTITIES[:1], torch.rand(1, 2))
    assert found.find([IDENTITIES[0], None, IDENTITIES[1]])[0].tolist() == [0, -1, -1]


def test_two_runs_at_once_keep_both_their_rows(tmp_path: Path):
    one, other = store(tmp_path), store(tmp_path)
    one.write(IDENTITIES[:3], torch.zeros(3, 2))
    other.write(IDENTITIES[2:], torch.zeros(4, 2))
    assert (store(tmp_path).find(IDENTITIES)[0] >= 0).all()


def test_damaged_shard_is_passed_over(tmp_path: Path):
    first = store(tmp_path)
    first.write(IDENTITIES, torch.rand(6, 100))
    [shard] = first.path.glob("*.safetensors")
    shard.write_bytes(shard.read_bytes()[:-50])
    found = store(tmp_path)
    assert found.damaged == [str(shard)]
    assert found.find(IDENTITIES)[0].tolist() == [-1] * 6


def test_half_written_shard_is_never_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    found = store(tmp_path)
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        found.write(IDENTITIES, torch.rand(6, 2))
    assert store(tmp_path).find(IDENTITIES)[0].tolist() == [-1] * 6


def test_write_without_a_folder_that_can_be_written_says_so(tmp_path: Path):
    (tmp_path / "features").write_text("a file is in the way")
    with pytest.raises(ToolkitError, match="Cannot write"):
        store(tmp_path).write(IDENTITIES, torch.rand(6, 2))


def test_list_and_remove_entries(tmp_path: Path):
    store(tmp_path).write(IDENTITIES, torch.rand(6, 2))
    [entry] = list_entries(tmp_path)
    assert (entry.what, entry.images) == ("resnet18 up to fc", 6)
    assert entry.size > 6 * 2 * 4
    remove([entry])
    remove([entry])  # another run may have been quicker
    assert list_entries(tmp_path) == []


def test_make_room_removes_what_was_not_used_for_longest(tmp_path: Path):
    for number in range(3):
        entry = store(tmp_path, number=number)
        entry.write(IDENTITIES, torch.rand(6, 100))
        os.utime(entry.path, (number, number))
    size = list_entries(tmp_path)[0].size
    keep = [store(tmp_path, number=0).path]
    assert evict(tmp_path, size, 3 * size + 100, keep)
    assert {entry.path for entry in list_entries(tmp_path)} == {*keep, store(tmp_path, number=2).path}
    assert not evict(tmp_path, 3 * size, 3 * size, keep)
    assert len(list_entries(tmp_path)) == 2


def test_cache_folder_is_where_the_variable_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TL_CACHE", str(tmp_path / "here"))
    assert cache_folder() == tmp_path / "here"
    assert 0 < default_limit(cache_folder()) <= 10 * 2**30
