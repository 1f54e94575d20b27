"""Tar shards, and the index of packed ones."""

import io
import json
import tarfile

from tests.fuzz.targets.base import Target, only_toolkit_errors, own_folder, write_file


def shard(data: bytes) -> None:
    """Read the headers and labels of a tar file."""
    from tl_toolkit.data.sources.shard_members import read_samples

    path = write_file("shard.tar", data)
    with only_toolkit_errors():
        samples = read_samples(path, "shard.tar")
        assert len(samples.keys) == len(samples.labels) == len(samples.image_names())


def index(data: bytes) -> None:
    """Open shards by an index."""
    from tl_toolkit.data.sources.base import open_source

    folder = own_folder() / "shards"
    folder.mkdir(exist_ok=True)
    (folder / "000.tar").write_bytes(_shard_seeds()[0])
    (folder / "index.json").write_bytes(data)
    with only_toolkit_errors():
        train = open_source(str(folder)).split("train")
        for at in range(len(train)):
            train.read(at)


def _tar(members: dict[str, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w", format=form) as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return written.getvalue()


def _shard_seeds() -> list[bytes]:
    plain = {"a/x.cls": b"0", "a/x.png": b"image", "y.json": b'{"labels": ["cat", "dog"]}', "y.jpg": b"another"}
    long = {f"{'long/' * 60}x.png": b"1", f"{'long/' * 60}x.txt": "ünd".encode()}
    return [_tar({"x.cls": b"0", "x.png": b"image", "y.cls": b"1", "y.png": b"other"}), _tar(plain), _tar(long),
            _tar(long, tarfile.GNU_FORMAT)]  # fmt: skip


def _index_seeds() -> list[bytes]:
    from tl_toolkit.data.sources.shard_index import PackedShard, PackIndex
    from tl_toolkit.data.sources.shard_members import ShardSamples

    content = _shard_seeds()[0]
    offsets = [content.index(b"image"), content.index(b"other")]
    samples = ShardSamples(["x", "y"], ["png", "png"], offsets, [5, 5], [0, 1], {}, ["x.png", "y.png"], [1, 0], None)
    whole = PackIndex(
        "x", "multi-class", ["cat", "dog"], True, [PackedShard("000.tar", len(content), "0" * 64, samples)]
    )
    several = json.loads(whole.to_json()) | {"task": "multi-label"}
    several["shards"][0]["samples"]["labels"] = [[0, 1], []]
    return [whole.to_json().encode(), json.dumps(several).encode()]


TARGETS = {"shard": Target(shard, _shard_seeds), "shard-index": Target(index, _index_seeds, json_after=0)}
