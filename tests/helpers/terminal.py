"""Commands as a person types them, in this process, where the slow imports happen once; and what a terminal shows."""

import pyte
from typer.testing import CliRunner, Result

from tl_toolkit.cli.main import app


def run_tl(*arguments: object, stdin: str = "") -> Result:
    """Run `tl` on a terminal of 200 columns without colours."""
    return CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1"}).invoke(app, [str(a) for a in arguments], input=stdin)


def shown_on(screen: pyte.Screen, output: str) -> list[str]:
    """Send what a program wrote to a terminal, and return the lines that it shows, without empty ones at the end."""
    pyte.Stream(screen).feed(output.replace("\n", "\r\n"))  # As the tty driver sends it.
    return "\n".join(line.rstrip() for line in screen.display).rstrip("\n").split("\n")
