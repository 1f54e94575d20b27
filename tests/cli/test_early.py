"""Checks before PyTorch is imported."""

import json
import subprocess
import sys
from pathlib import Path

from tests.helpers.folders import copy_digits

NO_MODEL = "There is no model 'nowhere'. Give a run folder, or a model file that tl wrote."
KINDS = (
    "Data can be a folder, a table (.csv, .tsv, .jsonl or .parquet), shards (.tar), `digits`, `torchvision:NAME` or "
    "`hf:ORG/NAME`."
)
ELSEWHERE = "Make it, or choose another --out."
MISTAKES = {
    "finetune --data photo": f"There is no folder 'photo'. Did you mean photos? {KINDS}",
    "finetune --data MNIST": "There is no folder 'MNIST'. For torchvision's dataset say `torchvision:mnist`.",
    "finetune --data torchvision:cifar11": "No torchvision dataset is named 'cifar11'. Did you mean cifar10 or "
    "cifar100? `tl data get --help` lists them.",
    "finetune --data cat.png": "Data must be a folder of class folders, or a table (.csv, .tsv, .jsonl, .parquet), but "
    "cat.png is a file.",
    "finetune --data nothere.csv": "There is no table 'nothere.csv'. Did you mean there.csv?",
    "finetune --data photos --out photos": "The folder photos exists; nothing is ever overwritten. Choose another "
    "--out.",
    "finetune --resume photos": "photos is not a run folder: it has no config.yaml. Give a folder that "
    "`tl finetune` wrote.",
    "predict cat.png -m nowhere": NO_MODEL,
    "predict cat.png --format csv --out cat.png": "cat.png exists; nothing is ever overwritten. Choose another --out.",
    "predict cat.png --format csv --out no/cat.csv": f"There is no folder no for cat.csv. {ELSEWHERE}",
    "evaluate -m nowhere": NO_MODEL,
    "evaluate -m cat.png --data nothere": f"There is no folder 'nothere'. {KINDS}",
    "export nowhere --to state-dict --out cat.pt": NO_MODEL,
    "export photos --to state-dict --out cat.png": "cat.png exists. Choose another --out, or replace it by --force.",
    "export photos --to onnx --out no/cat.onnx": f"There is no folder no for cat.onnx. {ELSEWHERE}",
    "push photos me/cats --dry-run photos": "photos exists; nothing is ever overwritten. Choose another --dry-run.",
    "import nowhere --arch vgg16": "There is no file 'nowhere'.",
    "import cat.png --out photos": "The folder photos exists; nothing is ever overwritten. Choose another --out.",
    "import cat.png --classes-file nothere": "Cannot read the class names in nothere: No such file or directory.",
    "import cat.png --preprocessing size": "--preprocessing 'size' is not KEY=VALUE, such as size=299 or "
    "mean=0.5,0.5,0.5.",
    "inspect nowhere": NO_MODEL,
    "rank --data nothere": f"There is no folder 'nothere'. {KINDS}",
    "data info nothere": f"There is no folder 'nothere'. {KINDS}",
    "data check nothere": f"There is no folder 'nothere'. {KINDS}",
    "data get mnst": "No torchvision dataset is named 'mnst'. Did you mean mnist or kmnist? "
    "`tl data get --help` lists them.",
    "compare nowhere elsewhere": "nowhere is not a run folder: it has no config.yaml. Give a folder that `tl finetune` "
    "wrote.",
    "runs nowhere": "There is no folder 'nowhere'. `tl runs` lists the runs of this folder.",
    "runs show nowhere": "nowhere is not a run folder: it has no config.yaml. Give a folder that `tl finetune` wrote.",
    "runs rm nowhere": "nowhere is not a run folder: it has no config.yaml. Give a folder that `tl finetune` wrote.",
    "report nowhere": "nowhere is not a run folder: it has no config.yaml. Give a folder that `tl finetune` wrote.",
    "report nowhere --data nothere": f"There is no folder 'nothere'. {KINDS}",
    "serve nowhere": NO_MODEL,
    "plot nowhere": "nowhere is not a run folder with metrics: there is no nowhere/metrics.jsonl.",
}
RUN_ALL = """
import json, sys
from typer.testing import CliRunner
from tl_toolkit.cli.main import app

results = {}
for line in json.loads(sys.argv[1]):
    done = CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1"}).invoke(app, line.split())
    results[line] = done.exit_code, done.stderr
heavy = {"torch", "torchvision", "timm", "matplotlib", "numpy", "jinja2", "fastapi", "uvicorn"}
slow = sorted(heavy & set(sys.modules))
print(json.dumps([results, slow]))
"""


def test_mistakes_are_reported_without_importing_torch(in_folder: Path):
    copy_digits(in_folder / "photos", ["0", "1"], 1)
    (in_folder / "cat.png").touch()
    (in_folder / "there.csv").touch()
    command = [sys.executable, "-c", RUN_ALL, json.dumps(list(MISTAKES))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    results, slow = json.loads(done.stdout)
    assert results == {line: [2, f"Error: {message}\n"] for line, message in MISTAKES.items()}
    assert slow == []
