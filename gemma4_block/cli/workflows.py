"""Find the shipped workflow examples, and run workflows in this process."""

import json
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn

import typer

import gemma4_block
from gemma4_block.cli.wording import in_terminal_words
from gemma4_block.errors import ConfigurationError, Gemma4BlockError
from gemma4_block.hosting import prepare_host_environment

_PACKAGE = Path(gemma4_block.__file__).parent
# An installed wheel holds the examples inside the package, a source checkout beside it.
_EXAMPLE_FOLDERS = (_PACKAGE / "workflow_examples", _PACKAGE.parent / "workflow_examples")
DETECTOR_DIRECTORY = _PACKAGE / "demo" / "detector"

_OUTPUTS = {name: name for name in ("output", "error_message")}

Specification = dict[str, object]
Row = dict[str, Any]
"""The host's answer about one image: output name to value, typed by the workflow that ran."""


def load_example(name: str) -> Specification:
    """Read a workflow definition that is shipped.

    Args:
        name: Its file name without `.json`.

    Returns:
        The definition.

    Raises:
        ConfigurationError: There is no such example.

    """
    for folder in _EXAMPLE_FOLDERS:
        path = folder / f"{name}.json"
        if path.is_file():
            specification: Specification = json.loads(path.read_text(encoding="utf-8"))
            return specification
    names = sorted(path.stem for folder in _EXAMPLE_FOLDERS for path in folder.glob("*.json"))
    raise ConfigurationError(f"There is no example {name!r}; there are {', '.join(names) or 'none'}.")


def one_step_workflow(
    fields: Mapping[str, object], outputs: Mapping[str, str] = MappingProxyType(_OUTPUTS)
) -> Specification:
    """Write the workflow that asks about its image.

    Args:
        fields: Of the block; one that is None keeps its default.
        outputs: What each output of the workflow is called, and which of the block's it is.

    Returns:
        Its definition.

    """
    given = {name: value for name, value in fields.items() if value is not None}
    return {
        "version": "1.0",
        "inputs": [{"type": "WorkflowImage", "name": "image"}],
        "steps": [{"type": "gemma4_block/gemma4@v1", "name": "gemma", "images": "$inputs.image", **given}],
        "outputs": [
            {"type": "JsonField", "name": name, "selector": f"$steps.gemma.{output}"}
            for name, output in outputs.items()
        ],
    }


class WorkflowRunner:
    """A compiled workflow. It may be run many times; models stay loaded between runs."""

    def __init__(self, specification: Specification, *, init_parameters: Mapping[str, object]) -> None:
        prepare_host_environment(allow_local_packages=True, allow_file_sinks=True)
        # The host's settings must be installed before roboflow_workflows freezes its own.
        import inference.core
        from inference.core.workflows.execution_engine.core import ExecutionEngine

        assert inference.core is not None
        self._engine = ExecutionEngine.init(
            workflow_definition=specification, init_parameters=dict(init_parameters)
        )

    def run(self, parameters: Mapping[str, object]) -> list[Row]:
        """Run the workflow on its inputs and return one row for each image, in order."""
        rows: list[Row] = self._engine.run(runtime_parameters=dict(parameters))
        return rows


def stock_model_parameters() -> dict[str, object]:
    """Return the init parameters that the host's own model blocks need, without a key."""
    prepare_host_environment(allow_local_packages=True, allow_file_sinks=True)
    from inference.core.managers.base import ModelManager
    from inference.core.registries.roboflow import RoboflowModelRegistry
    from inference.models.utils import ROBOFLOW_MODEL_TYPES

    return {
        "workflows_core.model_manager": ModelManager(RoboflowModelRegistry(ROBOFLOW_MODEL_TYPES)),
        "workflows_core.api_key": None,
    }


@contextmanager
def terminal_manners() -> Iterator[None]:
    """Keep the host quiet, and end our errors and the host's in one line and exit code 1."""
    prepare_host_environment(allow_local_packages=True, allow_file_sinks=True)
    try:
        with _environment_of_a_terminal(), quiet():
            yield
    except Gemma4BlockError as error:
        refuse(in_terminal_words(str(error)), error)
    except Exception as error:
        # Where the host was not imported, it raised nothing.
        host_errors = sys.modules.get("roboflow_workflows.errors")
        if host_errors is None or not isinstance(error, host_errors.WorkflowError):
            raise
        refuse(_plain_message(error), error)


@contextmanager
def _environment_of_a_terminal() -> Iterator[None]:
    """Set what a terminal needs and nobody has set, and leave the environment as it was found."""
    defaults = {
        # A bar for each file of weights would tear the command's own lines apart.
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        # Whoever sits at a terminal waits until the model is loaded; nobody else does.
        "GEMMA4_BLOCK_MAX_LOADING_SECONDS": "0",
    }
    added = {name: value for name, value in defaults.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep what the host logs and warns of out of the terminal."""
    disabled_below = logging.root.manager.disable
    # The host logs every failed step with its stack trace, and its own deprecations are no news either.
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled_below)


def refuse(message: str, cause: Exception | None = None) -> NoReturn:
    """Print one line on stderr and end the command with exit code 1.

    Args:
        message: What went wrong and what to do; line breaks become blanks.
        cause: Where it comes from.

    Raises:
        typer.Exit: Always.

    """
    typer.echo(" ".join(message.split()), err=True)
    raise typer.Exit(code=1) from cause


def _plain_message(error: Any) -> str:  # noqa: ANN401 - a class of the host, which has no types
    details = [_one_detail(detail) for detail in getattr(error, "blocks_errors", None) or ()]
    return "; ".join(text for text in details if text) or str(error.public_message)


def _one_detail(detail: Any) -> str:  # noqa: ANN401 - see above
    # Pydantic says so in front of a message of ours.
    text = str(detail.property_details or detail.block_details or "").removeprefix("Value error, ")
    is_about_one_field = detail.property_name and detail.property_details
    return f"{detail.property_name}: {text}" if is_about_one_field else text
