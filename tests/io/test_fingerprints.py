import os
from pathlib import Path

from tl_toolkit.io.fingerprints import fingerprint_file


def test_identity_of_a_file_changes_with_its_content_and_time(tmp_path: Path):
    path = tmp_path / "ä.jpg"
    path.write_bytes(b"abc")
    before = fingerprint_file(path)
    assert before == fingerprint_file(str(path))
    os.utime(path, (1, 1))
    assert fingerprint_file(path) != before
    assert fingerprint_file(tmp_path / "missing.jpg") is None
