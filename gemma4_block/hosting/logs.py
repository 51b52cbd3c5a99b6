"""Write the server's log: one line for a request that is refused, and no waiting for who reads it."""

import io
import logging
import os
import stat
import sys
from contextlib import suppress
from typing import Final

# The host has a handler of its own at each of them, which wraps lines to the width of a terminal.
_HOST_LOGGERS: Final = ("inference", "roboflow_workflows", "streamvision")
_FORMAT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"
# Where the host turns an error into a reply.
_REPLYING_MODULE: Final = "error_handlers"
# What a request can cause. The host answers 400 to these, and to others with a status they say which.
_REFUSALS: Final = frozenset(
    {
        "BlockInterfaceError",
        "ExecutionGraphStructureError",
        "InnerWorkflowCompositionCycleError",
        "InnerWorkflowInvalidStepEntryError",
        "InnerWorkflowNestingDepthError",
        "InnerWorkflowParameterBindingsError",
        "InnerWorkflowTotalCountError",
        "InputImageLoadError",
        "InvalidInputTypeError",
        "InvalidModelIDError",
        "InvalidReferenceTargetError",
        "MissingApiKeyError",
        "ModelNotRecognisedError",
        "NotSupportedExecutionEngineError",
        "OperationTypeNotRecognisedError",
        "ReferenceTypeError",
        "RuntimeInputError",
        "StepInputDimensionalityError",
        "WorkflowDefinitionError",
        "WorkflowExecutionEngineVersionError",
        "WorkflowSyntaxError",
    }
)
_LOADING: Final = "Loading workflows initializers"
_DEFECT: Final = 500
_LONGEST_LINE: Final = 1000


def log_in_lines() -> None:
    """Let the host log to stderr in plain lines, one for each request that is refused."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines(_FORMAT))
    for name in _HOST_LOGGERS:
        logging.getLogger(name).handlers = [handler]
    # The host says it to the root for every workflow that it compiles.
    logging.getLogger().addFilter(lambda record: not record.getMessage().startswith(_LOADING))


def never_wait_for_readers() -> None:
    """Drop what is written to stdout and stderr where they are pipes that nobody empties.

    A pipe holds 64 kB; the server would stop at the line that does not fit. Programs that share the pipe's
    end get it in this mode too. Call it before anything keeps `sys.stdout` or `sys.stderr`.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        try:
            descriptor = stream.fileno()
        except (AttributeError, OSError):
            # Closed, or replaced by somebody who reads.
            continue
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
            stream.flush()
            os.set_blocking(descriptor, False)
            setattr(sys, name, _Dropping(descriptor))


class _Lines(logging.Formatter):
    """Leaves the traceback of a refused request out, and says in its place what was wrong."""

    def format(self, record: logging.LogRecord) -> str:
        error = record.exc_info[1] if record.exc_info else None
        if record.module != _REPLYING_MODULE or error is None or not _is_refusal(error):
            return super().format(record)
        # The reply leaves the operator's folders out; the cause of it names them.
        told = error if error.__cause__ is None else error.__cause__
        text = " ".join(f"{type(told).__name__}: {told}".split())
        line = logging.makeLogRecord(
            {**record.__dict__, "exc_info": None, "exc_text": None, "args": None, "levelname": "WARNING"}
        )
        line.msg = f"Refused a request: {text[:_LONGEST_LINE]}"
        return super().format(line)


def _is_refusal(error: BaseException) -> bool:
    # What this package raises has a status that the host passes on.
    status: object = getattr(error, "status_code", None)
    if status is not None:
        return status != _DEFECT
    return not {kind.__name__ for kind in type(error).__mro__}.isdisjoint(_REFUSALS)


class _Dropping(io.TextIOBase):
    """Writes to a descriptor that may be full or closed, and then drops what does not fit."""

    encoding = "utf-8"

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def write(self, text: str) -> int:
        with suppress(BlockingIOError, BrokenPipeError):
            os.write(self._descriptor, text.encode(self.encoding, "backslashreplace"))
        return len(text)
