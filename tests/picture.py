"""Makes an SVG picture of what a terminal showed: `python -m tests.picture SCREEN.ansi PICTURE.svg`."""

import io
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

COLUMNS = 100


def draw_screen(screen: str, title: str) -> str:
    """The picture of a screen as `tmux capture-pane -e -p` writes it, without the empty lines below."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), color_system="truecolor", force_terminal=True)
    for line in Text.from_ansi(screen.rstrip()).split("\n"):
        console.print(line, soft_wrap=True)
    return console.export_svg(title=title)


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:])
    target.write_text(draw_screen(source.read_text(encoding="utf-8"), "tl finetune"), encoding="utf-8")
