"""The commands of the terminal. A command's module imports what is heavy inside its function."""

import typer

from gemma4_block.cli.ask import ask
from gemma4_block.cli.bench import bench
from gemma4_block.cli.demo import demo
from gemma4_block.cli.doctor import doctor
from gemma4_block.cli.engines import engines
from gemma4_block.cli.finetune import finetune
from gemma4_block.cli.models import models
from gemma4_block.cli.pull import pull
from gemma4_block.cli.run import run
from gemma4_block.cli.selftest import selftest
from gemma4_block.cli.serve import serve
from gemma4_block.cli.serve_engine import serve_engine

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def _main() -> None:
    """Run Gemma 4 blocks for Roboflow Inference Workflows on this machine."""


app.command()(demo)
app.command()(ask)
app.command()(run)
app.command()(bench)
app.command()(finetune)
app.command()(serve)
app.command()(pull)
app.command()(models)
app.command()(engines)
app.command()(serve_engine)
app.command()(doctor)
app.command()(selftest)
