"""README.md is short and leads to all other pages; test_docs.py runs and compares what it says."""

import json
import re
from pathlib import Path

import numpy as np

from gemma4_block.cli.workflows import WorkflowRunner
from gemma4_block.demo.scenes import draw_scene

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
MOST_BYTES = 12_000


def test_it_is_read_in_five_minutes() -> None:
    """What does not fit belongs into docs/."""
    assert len(README.encode()) <= MOST_BYTES


def test_it_leads_to_every_page() -> None:
    """No page of docs/ is found by chance only."""
    linked = set(re.findall(r"\]\((docs/[\w-]+\.md)[)#]", README))
    assert linked == {f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")}


def test_the_workflow_answers() -> None:
    """The JSON block runs as it stands and counts the shapes of a scene."""
    (block,) = re.findall(r"```json\n(.*?)```", README, re.DOTALL)
    scene = draw_scene(np.random.default_rng(0), shape_count=2)
    picture = np.ascontiguousarray(scene.image[..., ::-1])
    runner = WorkflowRunner(json.loads(block), init_parameters={})
    assert runner.run({"image": picture}) == [{"answer": "2"}]
