"""What tests share lies in `tests/helpers`."""

import re
from pathlib import Path

TESTS = Path(__file__).parent


def test_no_module_imports_a_test_module_or_conftest():
    pattern = re.compile(r"^\s*(?:from|import) (tests\.(?:\S+\.)?(?:test_\w+|conftest)\b)", re.MULTILINE)
    found = {str(path.relative_to(TESTS)): pattern.findall(path.read_text()) for path in TESTS.rglob("*.py")}
    assert {name: modules for name, modules in found.items() if modules} == {}
