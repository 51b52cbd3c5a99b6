"""Say what a model would take of each device that it may be loaded on."""

from collections.abc import Mapping
from dataclasses import replace

from gemma4_block.contract import LocalModel
from gemma4_block.engine.pool.placement import Claim
from gemma4_block.errors import CheckpointError
from gemma4_block.settings import Settings


class MemoryGauge:
    """Says what devices there are, how much of them is free, and what a model would take."""

    def list_devices(self, settings: Settings) -> tuple[str, ...]:
        """Return the devices that models may be loaded on, as torch names them.

        Args:
            settings: The operator's.

        Returns:
            At least one.

        Raises:
            ConfigurationError: One that they name is not there.

        """
        from gemma4_block.engine.hardware import find_devices

        return tuple(map(str, find_devices(settings.device)))

    def read_free(self, device: str) -> int | None:
        """Return how many bytes of a device are free; None where it does not say."""
        import torch

        from gemma4_block.engine.hardware import read_free_memory

        return read_free_memory(torch.device(device))

    def claim(
        self, reference: LocalModel, settings: Settings, free: Mapping[str, int | None]
    ) -> tuple[Claim, ...]:
        """Estimate what a model takes on each device.

        Args:
            reference: Which one; adapters beside it are not counted.
            settings: The operator's.
            free: For each device, bytes that no other model may take.

        Returns:
            One for each device; none where the files do not tell. What is wrong with them is said by loading.

        Raises:
            ConfigurationError: A precision cannot work.

        """
        # torch and transformers are imported when the first engine is asked for, and not before.
        import torch

        from gemma4_block.engine.footprint import forecast
        from gemma4_block.engine.hardware import inspect_machine
        from gemma4_block.engine.loading import is_slow_in, read_model_files, warn_of_slow_bfloat16

        try:
            files = read_model_files(reference.directory)
        except CheckpointError:
            return ()
        claims = []
        for device, free_bytes in free.items():
            machine = replace(inspect_machine(device), free_bytes=free_bytes)
            found = forecast(
                files,
                machine=machine,
                settings=settings,
                quantization=reference.quantization,
            )
            if found.footprint is None or files.weights is None:
                continue
            dtype = found.precision.dtype
            if settings.dtype == "auto" and is_slow_in(dtype, machine):
                float32_bytes = files.weights.measure(torch.float32, found.precision.quantization)
                warn_of_slow_bfloat16(reference.directory, machine, float32_bytes)
            # What is loaded is what was estimated, also where other memory is free by then.
            chosen = {"device": device, "dtype": str(dtype).removeprefix("torch.")}
            claims.append(
                Claim(
                    device=device,
                    footprint=found.footprint,
                    settings=settings.model_copy(update=chosen),
                )
            )
        return tuple(claims)
