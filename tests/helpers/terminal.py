"""Commands as a person types them, in this process, where the slow imports happen once."""

from typer.testing import CliRunner, Result

from tl_toolkit.cli.main import app


def run_tl(*arguments: object, stdin: str = "") -> Result:
    """Run `tl` on a terminal of 200 columns without colours."""
    return CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1"}).invoke(app, [str(a) for a in arguments], input=stdin)
