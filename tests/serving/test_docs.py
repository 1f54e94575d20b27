"""The page docs/serving.md does what it says."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.helpers.serving import Site
from tl_toolkit.serving.limits import Limits

PAGE = (Path(__file__).parents[2] / "docs" / "serving.md").read_text(encoding="utf-8")
[BLOCK] = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("line", BLOCK.splitlines())
def test_commands_of_the_page_are_answered(line: str, site: Site, digits: list[Path], tmp_path: Path):
    (tmp_path / "cat.png").write_bytes(digits[0].read_bytes())
    command = line.replace("curl", "curl -s --fail", 1)
    environment = {**os.environ, "URL": site.url}
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, env=environment, capture_output=True, check=True)
    found = json.loads(done.stdout)
    assert "class_name" in (found[0] if isinstance(found, list) else found)


def test_page_tells_the_limits():
    limits = Limits()
    for told in (
        f"| size of a request | {limits.upload_bytes // 2**20} MiB, or `--max-upload` |",
        f"| images of a request | {limits.images} |",
        f"| pixels of an image | {limits.pixels // 10**6} million; looked at before it is decoded |",
        f"| requests that are read or wait | {limits.requests}, with {limits.held_bytes // 2**20} MiB together; more",
        f"| {limits.header_seconds:.0f}, {limits.upload_seconds:.0f} and {limits.answer_seconds:.0f} s |",
        f"| open connections | {limits.connections} |",
        f"for up to {limits.shutdown_seconds} s",
    ):
        assert told in PAGE
