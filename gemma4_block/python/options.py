"""How a task is asked in Python, beside what it needs."""

from dataclasses import dataclass
from typing import Final

from gemma4_block.contract import GenerationConfig, ImageSeqLength, check_image_seq_length
from gemma4_block.errors import ConfigurationError


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskOptions:
    """How to ask; every field has a default that suits the task.

    Attributes:
        image_seq_length: Visual token budget per image; None means what the model was loaded with, else what
            suits task and image.
        system_prompt: Text of the system turn; None means no system turn.
        generation: How to answer; None means the operator's defaults, as for the blocks.

    """

    image_seq_length: ImageSeqLength | None = None
    system_prompt: str | None = None
    generation: GenerationConfig | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be meant.

        Raises:
            ConfigurationError: The budget is none of the five, or a field has the wrong type.

        """
        if self.image_seq_length is not None:
            check_image_seq_length(self.image_seq_length)
        if not isinstance(self.system_prompt, str | None):
            raise ConfigurationError(
                f"system_prompt is a {type(self.system_prompt).__name__}; it must be text or None."
            )
        if not isinstance(self.generation, GenerationConfig | None):
            raise ConfigurationError(
                f"generation is a {type(self.generation).__name__}; it must be a GenerationConfig or None, "
                "as in GenerationConfig(max_new_tokens=64)."
            )


AS_USUAL: Final = TaskOptions()
"""What suits the task, and the operator's defaults."""
