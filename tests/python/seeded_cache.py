"""Write the package cache of inference_models as its downloads leave it, with links to other files."""

import hashlib
from pathlib import Path

from inference_models.configuration import INFERENCE_HOME
from inference_models.models.auto_loaders.core import dump_model_config_for_offline_use
from inference_models.models.auto_loaders.entities import BackendType
from inference_models.models.auto_loaders.model_cache_paths import generate_model_package_cache_path
from inference_models.weights_providers.entities import (
    FileDownloadSpecs,
    ModelMetadata,
    ModelPackageMetadata,
    Quantization,
)
from inference_models.weights_providers.offline_registry import record_successful_load

PACKAGE_ID = "demo"


def seed_package_cache(model_id: str, files: Path) -> Path:
    """Put a model under its id into the cache of this process, and return its directory."""
    package = Path(generate_model_package_cache_path(model_id=model_id, package_id=PACKAGE_ID))
    package.mkdir(parents=True)
    assert package.is_relative_to(INFERENCE_HOME)
    paths = [path for path in sorted(files.iterdir()) if path.name != "model_config.json"]
    for path in paths:
        (package / path.name).symlink_to(path)
    artefacts = [
        FileDownloadSpecs(
            download_url=f"https://example.invalid/{path.name}",
            file_handle=path.name,
            md5_hash=hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest(),
        )
        for path in paths
    ]
    dump_model_config_for_offline_use(
        config_path=str(package / "model_config.json"),
        model_architecture="gemma-4",
        task_type="vlm",
        backend_type=BackendType.HF,
        file_lock_acquire_timeout=10,
        model_id=model_id,
        canonical_model_id=model_id,
        trusted_source=True,
        quantization=Quantization.BF16.value,
    )
    assert record_successful_load(
        model_metadata=ModelMetadata(
            model_id=model_id,
            model_architecture="gemma-4",
            task_type="vlm",
            model_packages=[
                ModelPackageMetadata(
                    package_id=PACKAGE_ID,
                    backend=BackendType.HF,
                    package_artefacts=artefacts,
                    quantization=Quantization.BF16,
                    trusted_source=True,
                )
            ],
        ),
        requested_model_id=model_id,
        proven_package_id=PACKAGE_ID,
    )
    return package
