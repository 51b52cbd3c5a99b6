"""The answers in `answers/`: one file each, with what they say or why they are refused."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, JsonValue

from gemma4_block.reading import BoxFormat

_FOLDER = Path(__file__).parent / "answers"


class Case(BaseModel):
    """One answer and what is expected of the reader for its kind."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    why: str
    answer: list[str]
    reader: Literal["json", "boxes", "label"]
    box_format: BoxFormat = "yxyx_0_1000"
    image_size_wh: tuple[int, int] = (1, 1)
    classes: list[str] = []
    expected: JsonValue = None
    refusal: str | None = None

    @property
    def text(self) -> str:
        """The answer; files hold it line by line."""
        return "\n".join(self.answer)


def load_cases() -> Iterator[tuple[str, Case]]:
    """Yield every case with its name, in the order of names."""
    for path in sorted(_FOLDER.glob("*.json")):
        yield path.stem, Case.model_validate(json.loads(path.read_text("utf-8")))
