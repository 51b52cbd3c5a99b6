"""The Workflows host in a process of ours: its environment, its HTTP server, and who may ask for what."""

from gemma4_block.hosting.app import make_app
from gemma4_block.hosting.endpoint import publish_to_host
from gemma4_block.hosting.environment import prepare_host_environment
from gemma4_block.hosting.logs import log_in_lines, never_wait_for_readers
from gemma4_block.hosting.outgoing import SWITCH, close_outgoing_blocks
from gemma4_block.hosting.reports import ENGINES_PATH, ClosingReport, EngineReport, EnginesReport
from gemma4_block.hosting.server import DEMO_REQUEST_PATH, Door, run_until_stopped

__all__ = [
    "DEMO_REQUEST_PATH",
    "ENGINES_PATH",
    "SWITCH",
    "ClosingReport",
    "Door",
    "EngineReport",
    "EnginesReport",
    "close_outgoing_blocks",
    "log_in_lines",
    "make_app",
    "never_wait_for_readers",
    "prepare_host_environment",
    "publish_to_host",
    "run_until_stopped",
]
