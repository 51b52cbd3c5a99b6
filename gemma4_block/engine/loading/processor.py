"""Load a checkpoint's processor, or say which of its files is at fault."""

from pathlib import Path
from typing import TYPE_CHECKING, Final

from pydantic import BaseModel, ConfigDict, JsonValue, TypeAdapter
from tokenizers import Tokenizer
from transformers import AutoProcessor, AutoTokenizer

from gemma4_block.engine.loading.naming import naming
from gemma4_block.errors import CheckpointError

if TYPE_CHECKING:
    from transformers import ProcessorMixin

_PROCESSOR: Final = "processor_config.json"
_TOKENIZER_CONFIG: Final = "tokenizer_config.json"
_TOKENIZER: Final = "tokenizer.json"


def load_processor(directory: Path, *, trust_remote_code: bool, local_files_only: bool) -> "ProcessorMixin":
    """Load tokenizer, template and image processor.

    Args:
        directory: Holds their files.
        trust_remote_code: Run code that the checkpoint brings.
        local_files_only: Never ask a hub.

    Returns:
        The processor.

    Raises:
        CheckpointError: A file is missing or damaged.

    """
    files = [directory / name for name in (_PROCESSOR, _TOKENIZER_CONFIG, _TOKENIZER)]
    for path in files:
        # Without it transformers would make a processor of its own, or a tokenizer that knows no words.
        if not path.is_file():
            raise CheckpointError(f"{path.name} is not there: {directory} is not complete. Fetch {path}.")
    template = directory / "chat_template.jinja"
    if template.exists():
        with naming(template):
            template.read_text(encoding="utf-8")
    options = {"trust_remote_code": trust_remote_code, "local_files_only": local_files_only}
    try:
        with naming(*files):
            processor: ProcessorMixin = AutoProcessor.from_pretrained(directory, **options)
    except CheckpointError:
        # One call reads all of the files. Where it fails, the tokenizer is read alone, and piece by piece.
        _check_sections(directory / _TOKENIZER)
        with naming(directory / _TOKENIZER_CONFIG, directory / _TOKENIZER):
            AutoTokenizer.from_pretrained(directory, **options)
        raise
    return processor


class _Wordless(BaseModel):
    """The least that the tokenizers library takes for a tokenizer, and room for one section more."""

    model_config = ConfigDict(extra="allow")

    version: str = "1.0"
    model: JsonValue = {"type": "BPE", "vocab": {}, "merges": []}


def _check_sections(path: Path) -> None:
    """Read each section of tokenizer.json on its own, so that the one which fails is named.

    Args:
        path: A JSON object.

    Raises:
        CheckpointError: A section cannot be used.

    """
    sections = TypeAdapter(dict[str, JsonValue]).validate_json(path.read_bytes())
    for name, section in sections.items():
        with naming(path, key=name):
            Tokenizer.from_str(_Wordless.model_validate({name: section}).model_dump_json())
