"""How the questions of a dataset are put to a model."""

from dataclasses import dataclass

from gemma4_block.contract import ImageSeqLength
from gemma4_block.tasks import OutputStructure, Task


@dataclass(frozen=True, kw_only=True, slots=True)
class Wording:
    """What all questions have in common.

    Attributes:
        task: Words them.
        image_seq_length: Visual token budget; None for what suits task and picture.
        system_prompt: Text of the system turn; None for none.
        classes: The possible answers, for tasks that have any.
        output_structure: The form of the answers, for a task that has one.

    """

    task: Task
    image_seq_length: ImageSeqLength | None = None
    system_prompt: str | None = None
    classes: tuple[str, ...] = ()
    output_structure: OutputStructure | None = None
