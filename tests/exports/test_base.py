import subprocess
import sys

SCRIPT = """
import sys
from typer.testing import CliRunner
from tl_toolkit.cli.main import app

print("importlib.metadata" in sys.modules)
print("state-dict: tensors alone" in CliRunner(env={"COLUMNS": "200"}).invoke(app, ["export", "--help"]).stdout)
print(sorted({"torch", "timm", "numpy"} & set(sys.modules)))
"""


def test_names_and_help_of_the_formats_import_no_torch() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["False", "True", "[]"]
