"""Show that this machine answers as it should, and how fast, in a report for an issue."""

from gemma4_block.cli.selftest.command import selftest

__all__ = ["selftest"]
