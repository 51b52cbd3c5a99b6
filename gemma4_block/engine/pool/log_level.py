"""Let the operator say what this package logs, in a host that leaves no other way to."""

import logging

from gemma4_block.settings import LogLevel


def set_log_level(level: LogLevel | None) -> None:
    """Log from a level on; to stderr where the process has no handler that would take it.

    Args:
        level: The operator's; None leaves everything to the program that runs this package.

    """
    if level is None:
        return
    logger = logging.getLogger("gemma4_block")
    logger.setLevel(level)
    # The stock server handles only the loggers that it knows.
    if not logger.hasHandlers():
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        logger.addHandler(handler)
