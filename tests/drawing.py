"""Draws the floors of the package: `python -m tests.drawing docs/architecture.svg`.

The floors are those of pyproject.toml's import-linter section; a test holds the drawing against them.
"""

import sys
import tomllib
from pathlib import Path
from xml.sax.saxutils import escape

ROOT = Path(__file__).parents[1]
BLUE, GREEN, YELLOW, ORANGE, PINK, VIOLET, GREY = (
    "#dbeafe", "#dcfce7", "#fef3c7", "#ffedd5", "#fce7f3", "#ede9fe", "#f1f5f9",
)  # fmt: skip
ROOMS = {
    "__main__": (BLUE, "python -m tl_toolkit"),
    "cli": (BLUE, "the terminal: one file per command; only console.py prints"),
    "serving": (GREEN, "a model over HTTP: addresses, a page, limits"),
    "recipes": (GREEN, "the verbs: finetune, evaluate, predict, rank, from beginning to end"),
    "planning": (YELLOW, "what a run does: network, stages, budget"),
    "runs": (YELLOW, "run folders: records, checkpoints, resuming"),
    "stages": (YELLOW, "a stage put together: images or features, network, optimizer"),
    "exports": (ORANGE, "files for other programs"),
    "report": (ORANGE, "curves, grids, TensorBoard"),
    "inference": (ORANGE, "a saved model that predicts"),
    "features": (ORANGE, "outputs of frozen layers"),
    "data": (PINK, "images, sources, splits, loaders"),
    "models": (PINK, "networks: weights, heads, freezing"),
    "training": (PINK, "loop, optimizers, state"),
    "model_file": (VIOLET, "the self-describing model.safetensors"),
    "metrics": (VIOLET, "logits in, numbers out"),
    "config": (VIOLET, "every setting with its default, limits and help"),
    "sampling": (VIOLET, "keyed random numbers, orders"),
    "input_spec": (VIOLET, "size, crop, mean, std"),
    "io": (GREY, "atomic files, caches, downloads, archives"),
    "events": (GREY, "decisions, warnings, records"),
    "registry": (GREY, "parts by name"),
    "system": (GREY, "cores, allocator, versions"),
    "errors": (GREY, "the exception tree"),
    "text": (GREY, "helpers of messages"),
}
"""The colour of each module or folder, and what is in it."""
IMAGE = [
    ("cat.png", "a file", "data/images.py"),
    ("pixels", "upright RGB", "data/transforms.py"),
    ("input", "(N, 3, 224, 224)", "models/backbones.py"),
    ("features", "(N, 512)", "models/heads.py"),
    ("logits", "(N, classes)", "metrics/logits.py"),
    ("prediction", "class, probability", ""),
]
FLAG = [
    ("--lr 0.01", "in the terminal", "cli/options.py"),
    ("FinetuneConfig", "learning_rate: 0.01", "training/plan.py"),
    ("StageConfig", "peak rate of a stage", "training/optimizers.py"),
    ("optimizer", "rates by layer", "training/loop.py"),
    ("weights", "best by val", "model_file.py"),
    ("model file", "model.safetensors", ""),
]
WIDTH, MARGIN, ROW, GAP, TOP = 1000, 24, 29, 5, 56
STEP, STEP_GAP = 127, 38


def layers() -> list[list[str]]:
    """The floors from the top, each with its independent modules."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    [contract] = [each for each in pyproject["tool"]["importlinter"]["contracts"] if each["type"] == "layers"]
    return [[name.strip() for name in layer.split("|")] for layer in contract["layers"]]


def text(x: float, y: float, content: str, style: str = "t", anchor: str = "start") -> str:
    return f'<text x="{x:g}" y="{y:g}" class="{style}" text-anchor="{anchor}">{escape(content)}</text>'


def box(x: float, y: float, width: float, height: float, fill: str) -> str:
    return f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="6" fill="{fill}" stroke="#94a3b8"/>'


def draw_floors(floors: list[list[str]]) -> list[str]:
    """A row for each floor, with a box for each of its modules."""
    parts = [text(MARGIN, 38, "The floors: a module imports only from lower ones, and not from those beside it", "h")]
    for number, floor in enumerate(floors):
        y = TOP + number * (ROW + GAP)
        width = (WIDTH - 2 * MARGIN - GAP * (len(floor) - 1)) / len(floor)
        for index, name in enumerate(floor):
            x = MARGIN + index * (width + GAP)
            color, what = ROOMS[name]
            parts += [box(x, y, width, ROW, color), text(x + 12, y + 19, name, "m")]
            parts.append(text(x + 24 + 8.6 * len(name), y + 19, what, "s"))
    return parts


def draw_way(title: str, steps: list[tuple[str, str, str]], y: float) -> list[str]:
    """What something becomes, step by step; below each arrow is the file that makes the next step of it."""
    parts = [text(MARGIN, y, title, "h")]
    for index, (name, what, file) in enumerate(steps):
        x = MARGIN + index * (STEP + STEP_GAP)
        parts += [box(x, y + 16, STEP, 46, "#f8fafc"), text(x + STEP / 2, y + 35, name, "m", "middle")]
        parts.append(text(x + STEP / 2, y + 53, what, "xs", "middle"))
        if index + 1 < len(steps):
            parts.append(f'<path d="M{x + STEP + 4} {y + 39}h{STEP_GAP - 12}" class="a" marker-end="url(#head)"/>')
            parts.append(text(x + STEP + STEP_GAP / 2, y + 80, file, "f", "middle"))
    return parts


def draw_architecture(floors: list[list[str]]) -> str:
    """The drawing as SVG, on white: a page may be dark."""
    bottom = TOP + len(floors) * (ROW + GAP)
    height = bottom + 250
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        "<title>The floors of tl_toolkit, the way of an image and the way of a flag</title>",
        "<style>text{font-family:-apple-system,'Segoe UI',Helvetica,Arial,sans-serif;fill:#0f172a}"
        ".m{font:600 13.5px ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}.h{font-size:17px;font-weight:600}"
        ".s{font-size:13px;fill:#475569}.xs{font-size:11.5px;fill:#475569}"
        ".f{font:10.5px ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;fill:#1d4ed8}"
        ".a{stroke:#475569;stroke-width:1.6;fill:none}</style>",
        '<defs><marker id="head" markerWidth="7" markerHeight="7" refX="5" refY="3" orient="auto">'
        '<path d="M0 0L6 3L0 6z" fill="#475569"/></marker></defs>',
        f'<rect width="{WIDTH}" height="{height}" rx="10" fill="#ffffff"/>',
        *draw_floors(floors),
        *draw_way("The way of an image", IMAGE, bottom + 36),
        *draw_way("The way of a flag", FLAG, bottom + 150),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(draw_architecture(layers()), encoding="utf-8")
