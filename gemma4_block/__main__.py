"""Run the terminal commands with `python -m gemma4_block`."""

from gemma4_block.cli import app

if __name__ == "__main__":
    app()
