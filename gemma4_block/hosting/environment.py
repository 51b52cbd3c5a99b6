"""Set up the process environment that the Workflows host reads when it is first imported."""

import os
from pathlib import Path

from dotenv import load_dotenv

PLUGIN = "gemma4_block"

_DEFAULTS = {
    # Answers come from this machine: no telemetry, no remote images, no model downloads.
    "OFFLINE_MODE": "true",
    "METRICS_ENABLED": "False",
    # The stream API starts a child process that outlives the server's SIGTERM.
    "ENABLE_STREAM_API": "False",
    # A request must not bring its own Python, nor reach what only this process and this machine may.
    "ALLOW_CUSTOM_PYTHON_EXECUTION_IN_WORKFLOWS": "False",
    "ALLOW_LOADING_IMAGES_FROM_LOCAL_FILESYSTEM": "False",
    "ALLOW_POSTGRESQL_WORKFLOWS_SINK_TO_NON_GLOBAL_ADDRESSES": "False",
    "ALLOW_URL_TO_NON_GLOBAL_ADDRESSES": "False",
    "ALLOW_WEBHOOK_WORKFLOWS_SINK_TO_NON_GLOBAL_ADDRESSES": "False",
    "ALLOW_WORKFLOW_BLOCKS_ACCESSING_ENVIRONMENTAL_VARIABLES": "False",
    # Pages of other sites must not ask from the browser of somebody who can reach this server.
    "ALLOW_ORIGINS": "http://localhost,http://127.0.0.1",
    # No more requests have decoded images in memory than there are threads that run steps.
    "HTTP_API_THREADPOOL_WORKERS": "16",
    # Idle OpenMP threads would spin on the cores that the next operation needs.
    "OMP_WAIT_POLICY": "PASSIVE",
}
# Each of these model families costs the host start-up time and memory, and none is part of this plugin.
_OTHER_MODELS = (
    "CORE_MODEL_CLIP",
    "CORE_MODEL_DOCTR",
    "CORE_MODEL_EASYOCR",
    "CORE_MODEL_GAZE",
    "CORE_MODEL_GROUNDINGDINO",
    "CORE_MODEL_OWLV2",
    "CORE_MODEL_PE",
    "CORE_MODEL_PPOCR",
    "CORE_MODEL_SAM",
    "CORE_MODEL_SAM2",
    "CORE_MODEL_SAM3",
    "CORE_MODEL_TROCR",
    "CORE_MODEL_YOLO_WORLD",
    "COSMOS3",
    "DEPTH_ESTIMATION",
    "FLORENCE2",
    "GLM_OCR",
    "MOONDREAM2",
    "PALIGEMMA",
    "QWEN_2_5",
    "QWEN_3",
    "QWEN_3_5",
    "QWEN_3_8",
    "SAM3_3D_OBJECTS",
    "SMOLVLM2",
    "VJEPA2_1",
)


# With it the host takes a model id for a directory too, and runs the code that the directory brings.
_LOCAL_PACKAGES = "ALLOW_INFERENCE_MODELS_DIRECTLY_ACCESS_LOCAL_PACKAGES"
# With it a workflow that writes files writes wherever this process may.
_LOCAL_STORAGE = "ALLOW_WORKFLOW_BLOCKS_ACCESSING_LOCAL_STORAGE"

# What a workflow may do where the host's variable is true.
_PERMISSIONS = {
    "ALLOW_CUSTOM_PYTHON_EXECUTION_IN_WORKFLOWS": "run Python of their own",
    _LOCAL_PACKAGES: "load models from directories and run the code in them",
    _LOCAL_STORAGE: "write files",
    "ALLOW_LOADING_IMAGES_FROM_LOCAL_FILESYSTEM": "read image files of this machine",
    "ALLOW_WORKFLOW_BLOCKS_ACCESSING_ENVIRONMENTAL_VARIABLES": "read environment variables",
    "ALLOW_WEBHOOK_WORKFLOWS_SINK_TO_NON_GLOBAL_ADDRESSES": "send requests into the local network",
    "ALLOW_POSTGRESQL_WORKFLOWS_SINK_TO_NON_GLOBAL_ADDRESSES": "write to databases in the local network",
}


def prepare_host_environment(*, allow_local_packages: bool = False, allow_file_sinks: bool = False) -> None:
    """List this plugin with the host and give every unset variable our default.

    Call it before the first import of `inference`, `inference_models` or `roboflow_workflows`: they
    read the environment once. What the user has set stays; a second call changes nothing.

    Args:
        allow_local_packages: Let workflows name directories of models, as the shipped detector is one. Only
            for workflows of the user's own: the host runs Python that it finds there.
        allow_file_sinks: Let workflows write files. Only for workflows of the user's own as well.

    """
    # The host reads this file too, but only after our defaults would have taken its place.
    load_dotenv(Path.cwd() / ".env")
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    os.environ.setdefault(_LOCAL_PACKAGES, str(allow_local_packages))
    os.environ.setdefault(_LOCAL_STORAGE, str(allow_file_sinks))
    for model in _OTHER_MODELS:
        os.environ.setdefault(f"{model}_ENABLED", "False")
    # The host would move Hugging Face's cache below its own, and weights that the user has would be missed.
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    os.environ.setdefault("HF_HOME", str(cache / "huggingface"))
    _list_plugin()


def describe_permissions() -> list[str]:
    """Say which of the host's switches let workflows out of the server; it imports the host."""
    from inference.core import env

    opened = [
        f"Workflows may {deed}, because {name} is on."
        for name, deed in _PERMISSIONS.items()
        if getattr(env, name)
    ]
    if "*" in env.ALLOW_ORIGINS:
        opened.append("Pages of any site may ask in a browser, because ALLOW_ORIGINS is *.")
    return opened


def _list_plugin() -> None:
    # The host splits at commas and keeps blanks and empty names, which then fail to import.
    names = [name.strip() for name in os.environ.get("WORKFLOWS_PLUGINS", "").split(",")]
    plugins = [name for name in names if name]
    if PLUGIN not in plugins:
        plugins.append(PLUGIN)
    os.environ["WORKFLOWS_PLUGINS"] = ",".join(plugins)
