"""The rooms of the package: each has a door, and no import goes around one."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "gemma4_block"
ROOMS = sorted(
    "gemma4_block." + ".".join(folder.relative_to(PACKAGE).parts)
    for parent in (PACKAGE, PACKAGE / "engine")
    for folder in parent.iterdir()
    if (folder / "__init__.py").is_file() and folder.name not in {"engine", "demo", "cli"}
)
MODULES = sorted(PACKAGE.rglob("*.py"))


def _name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(path: Path) -> list[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]


def test_there_are_rooms() -> None:
    """The list is read from the tree."""
    assert "gemma4_block.engine.scheduler" in ROOMS
    assert "gemma4_block.tasks" in ROOMS


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_says_what_it_is_for_and_what_it_gives(room: str) -> None:
    """A charter in its first line, and a sorted list of names."""
    tree = ast.parse((PACKAGE.parent / Path(*room.split(".")) / "__init__.py").read_text(encoding="utf-8"))
    charter = ast.get_docstring(tree)
    lists = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    ]

    assert charter
    assert len(lists) == 1
    assert lists[0]


def test_nobody_imports_a_file_behind_a_door() -> None:
    """What a room gives to others stands in its door."""
    around = [
        f"{_name(path)} imports {imported}"
        for path in MODULES
        for imported in _imports(path)
        for room in ROOMS
        if imported.startswith(f"{room}.") and not f"{_name(path)}.".startswith(f"{room}.")
    ]

    assert around == []


def test_modules_are_short() -> None:
    """A module is one idea: half of them have at most 115 lines, none has more than 300."""
    lines = sorted(len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES)

    assert lines[len(lines) // 2] <= 115
    assert lines[-1] <= 300
