"""Ways to damage a checkpoint directory: a table that is made from the files of one that works."""

import json
import pickle
import shutil
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

Value = Any
"""What a JSON file holds."""

JsonPath = tuple[str | int, ...]
"""Keys of objects and places of lists, from the outermost to the value."""

JSON_FILES = (
    "config.json",
    "generation_config.json",
    "processor_config.json",
    "tokenizer_config.json",
    "tokenizer.json",
)

# So deep that a reader which calls itself for each level would end the process.
_NESTED: dict[str, Value] = {"nested": {"nested": [1, {"nested": None}]}}
_WEIGHTS = "model.safetensors"
_UP_PROJ = "model.language_model.layers.0.mlp.up_proj.weight"
# A list of tokens is damaged at its first entry, and says nothing more at its five hundredth.
_ENTRIES_OF_A_COLLECTION = 2
_LARGE_COLLECTION = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class Damage:
    """One way to damage a directory.

    Attributes:
        name: Says file, place and kind.
        file: The file that is damaged; a refusal names it.
        keys: On the way to the value; a refusal names one. Empty where the file has none.
        apply: Damages a copy of the directory.

    """

    name: str
    file: str
    keys: tuple[str, ...]
    apply: Callable[[Path], None]


def list_damages(checkpoint: Path) -> list[Damage]:
    """Return all damages of a directory, in a fixed order."""
    files = sorted(path.name for path in checkpoint.iterdir() if path.is_file())
    damages = [*_damages_of_files(checkpoint, files), *_damages_of_weights(), *_damages_of_templates()]
    for name in JSON_FILES:
        if (checkpoint / name).is_file():
            damages += _damages_of_json(name, json.loads((checkpoint / name).read_text(encoding="utf-8")))
    return damages


def list_adapter_damages(directory: Path) -> list[Damage]:
    """Return all damages of an adapter's own files, which lie beside its `base/`."""
    name = "adapter_config.json"
    content = json.loads((directory / name).read_text(encoding="utf-8"))
    files = (name, "adapter_model.safetensors")
    # What peft alone reads, peft alone names; the file is named always.
    of_config = [replace(damage, keys=()) for damage in _damages_of_json(name, content)]
    return [*_damages_of_files(directory, files), *of_config]


def damage_json(path: Path, place: JsonPath, change: Callable[[Value], Value] | None) -> None:
    """Change one value of a JSON file, or drop it where `change` is None."""
    content = json.loads(path.read_text(encoding="utf-8"))
    parent = content
    for key in place[:-1]:
        parent = parent[key]
    if change is None:
        del parent[place[-1]]
    else:
        parent[place[-1]] = change(parent[place[-1]])
    path.write_text(json.dumps(content), encoding="utf-8")


def walk(content: Value, place: JsonPath = ()) -> Iterator[tuple[JsonPath, Value]]:
    """Yield every place of a JSON value with what is there; of long collections the first entries."""
    if place:
        yield place, content
    if isinstance(content, dict):
        inner: list[tuple[str | int, Value]] = list(content.items())
    else:
        inner = list(enumerate(content)) if isinstance(content, list) else []
    for key, value in inner[: _ENTRIES_OF_A_COLLECTION if len(inner) > _LARGE_COLLECTION and place else None]:
        yield from walk(value, (*place, key))


def _damages_of_json(file: str, content: Value) -> Iterator[Damage]:
    for place, value in walk(content):
        keys = tuple(key for key in place if isinstance(key, str) and not key.isdigit())
        for kind, change in _changes(value).items():
            yield Damage(
                name=f"{file}:{'.'.join(map(str, place))}:{kind}",
                file=file,
                # The tokenizers library says which of its sections it cannot read, and no more.
                keys=keys if file == "tokenizer.json" else keys[-1:],
                apply=lambda d, place=place, change=change: damage_json(d / file, place, change),  # type: ignore[misc]
            )


def _changes(value: Value) -> dict[str, Callable[[Value], Value] | None]:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    changes: dict[str, Callable[[Value], Value] | None] = {
        "dropped": None,
        "null": lambda _: None,
        "wrong type": lambda old: 7 if isinstance(old, str | list | dict | bool) or old is None else "seven",
        "nested": lambda _: _NESTED,
        "list": lambda old: [old, old],
    }
    if is_number or value is None:
        changes |= {"huge": lambda _: 10**9, "negative": lambda _: -3}
    if isinstance(value, str):
        changes |= {"empty": lambda _: "", "other text": lambda _: "../../other"}
    return changes


def _damages_of_files(checkpoint: Path, files: Iterable[str]) -> Iterator[Damage]:
    kinds: dict[str, Callable[[Path], None]] = {
        "missing": Path.unlink,
        "empty": lambda path: _overwrite(path, b""),
        "cut": lambda path: _overwrite(path, path.read_bytes()[: path.stat().st_size // 2]),
        "cut by one": lambda path: _overwrite(path, path.read_bytes()[:-1]),
        "binary": lambda path: _overwrite(path, bytes(range(256)) * 8),
        "a list": lambda path: _overwrite(path, b"[]"),
        "a text": lambda path: _overwrite(path, b'"text"'),
        "a number": lambda path: _overwrite(path, b"7"),
        "null": lambda path: _overwrite(path, b"null"),
        "an empty object": lambda path: _overwrite(path, b"{}"),
        "deep": lambda path: _overwrite(path, b"[" * 100_000),
        "a folder": _make_folder,
        "a link to nothing": lambda path: _link(path, path.with_name("nothing")),
        "a link to itself": lambda path: _link(path, path),
        "a link to another place": lambda path: _link(path, checkpoint / path.name),
    }
    for file in files:
        for kind, damage in kinds.items():
            yield Damage(
                name=f"{file}:{kind}",
                file=file,
                keys=(),
                apply=lambda d, file=file, damage=damage: damage(d / file),  # type: ignore[misc]
            )


def _damages_of_weights() -> Iterator[Damage]:
    def tensors(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
        def apply(directory: Path) -> None:
            loaded = load_file(directory / _WEIGHTS)
            change(loaded)
            save_file(loaded, directory / _WEIGHTS, metadata={"format": "pt"})

        return apply

    def index(content: Value) -> Callable[[Path], None]:
        def apply(directory: Path) -> None:
            (directory / _WEIGHTS).rename(directory / "model-00001-of-00001.safetensors")
            (directory / f"{_WEIGHTS}.index.json").write_text(json.dumps(content), encoding="utf-8")

        return apply

    def head(change: Callable[[dict[str, Value]], object]) -> Callable[[Path], None]:
        return lambda directory: _edit_head(directory / _WEIGHTS, change)

    def cast(dtype: torch.dtype) -> Callable[[Path], None]:
        return tensors(lambda t: t.update({_UP_PROJ: t[_UP_PROJ].to(dtype)}))

    index_name = f"{_WEIGHTS}.index.json"
    shard = "model-00002-of-00002.safetensors"
    rows: dict[str, tuple[str, str, Callable[[Path], None]]] = {
        "tensor missing": (_WEIGHTS, _UP_PROJ, tensors(lambda t: t.pop(_UP_PROJ))),
        "tensor renamed": (_WEIGHTS, _UP_PROJ, tensors(lambda t: t.update({"other": t.pop(_UP_PROJ)}))),
        "tensor wide": (
            _WEIGHTS,
            _UP_PROJ,
            tensors(lambda t: t.update({_UP_PROJ: t[_UP_PROJ].repeat(1, 2)})),
        ),
        "tensor flat": (_WEIGHTS, _UP_PROJ, tensors(lambda t: t.update({_UP_PROJ: t[_UP_PROJ].flatten()}))),
        "tensor empty": (_WEIGHTS, _UP_PROJ, tensors(lambda t: t.update({_UP_PROJ: t[_UP_PROJ][:0]}))),
        "all tensors missing": (_WEIGHTS, "", tensors(dict.clear)),
        "int64": (_WEIGHTS, _UP_PROJ, cast(torch.int64)),
        "bool": (_WEIGHTS, _UP_PROJ, cast(torch.bool)),
        "head longer than the file": (_WEIGHTS, "", lambda d: _patch(d / _WEIGHTS, struct.pack("<Q", 10**8))),
        "head of 2**63": (_WEIGHTS, "", lambda d: _patch(d / _WEIGHTS, struct.pack("<Q", 2**63))),
        "head of nothing": (_WEIGHTS, "", lambda d: _patch(d / _WEIGHTS, struct.pack("<Q", 0))),
        "offsets beyond the file": (
            _WEIGHTS,
            "",
            head(lambda h: h[_UP_PROJ].update(data_offsets=[0, 10**12])),
        ),
        "offsets reversed": (_WEIGHTS, "", head(lambda h: h[_UP_PROJ]["data_offsets"].reverse())),
        "shape of the head": (_WEIGHTS, "", head(lambda h: h[_UP_PROJ].update(shape=[10**6, 10**6]))),
        "negative shape": (_WEIGHTS, "", head(lambda h: h[_UP_PROJ].update(shape=[-1, 2]))),
        "unknown dtype": (_WEIGHTS, "", head(lambda h: h[_UP_PROJ].update(dtype="Q7"))),
        "no metadata": (_WEIGHTS, "", head(lambda h: h.pop("__metadata__", None))),
        "index without the shard": (
            index_name,
            shard,
            index({"metadata": {}, "weight_map": {_UP_PROJ: shard}}),
        ),
        "index that leads away": (
            index_name,
            "",
            index({"metadata": {}, "weight_map": {_UP_PROJ: "../../etc/passwd"}}),
        ),
        "index without a map": (index_name, "weight_map", index({"metadata": {}})),
        "index with a list": (index_name, "weight_map", index({"metadata": {}, "weight_map": []})),
        "index with numbers": (
            index_name,
            "weight_map",
            index({"metadata": {}, "weight_map": {_UP_PROJ: 7}}),
        ),
        "index of null": (index_name, "weight_map", index({"metadata": {}, "weight_map": None})),
        "index that is a list": (index_name, "", index([])),
        "pickle": ("pytorch_model.bin", "", _pickle_instead),
        "garbage pickle": ("pytorch_model.bin", "", _garbage_pickle_instead),
    }
    for kind, (file, key, apply) in rows.items():
        yield Damage(name=f"weights:{kind}", file=file, keys=(key,) if key else (), apply=apply)


def _damages_of_templates() -> Iterator[Damage]:
    templates = {
        "unclosed": "{% for m in messages %}",
        "unknown name": "{{ nothing.at.all }}",
        "unknown filter": "{{ messages | frobnicate }}",
        "raises": "{{ raise_exception('no') }}",
        "divides by zero": "{{ 1 // 0 }}",
        "adds text to a number": "{{ 'a' + 1 }}",
        "shows nothing": "nothing",
        "endless": "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}"
        "{% endfor %}{% endfor %}{% endfor %}",
        "calls itself": "{% macro m(n) %}{{ m(n + 1) }}{% endmacro %}{{ m(0) }}",
        "calls itself often": "{% macro m(n) %}{% if n %}{{ m(n - 1) ~ m(n - 1) }}{% endif %}{% endmacro %}"
        "{{ m(60) }}",
        "reaches for the interpreter": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "huge range": "{% for a in range(10 ** 9) %}{% endfor %}",
        "for any number of images": "{{ messages[0]['content'][5]['text'] }}",
    }
    for kind, text in templates.items():
        yield Damage(
            name=f"chat_template.jinja:{kind}",
            file="chat_template.jinja",
            keys=(),
            apply=lambda d, text=text: _overwrite(d / "chat_template.jinja", text.encode()),  # type: ignore[misc]
        )


def _overwrite(path: Path, content: bytes) -> None:
    path.unlink()
    path.write_bytes(content)


def _patch(path: Path, start: bytes) -> None:
    _overwrite(path, start + path.read_bytes()[len(start) :])


def _make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _link(path: Path, target: Path) -> None:
    path.unlink()
    path.symlink_to(target)


def _edit_head(path: Path, change: Callable[[dict[str, Value]], object]) -> None:
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    head = json.loads(content[8 : 8 + length])
    change(head)
    encoded = json.dumps(head).encode()
    _overwrite(path, struct.pack("<Q", len(encoded)) + encoded + content[8 + length :])


def _pickle_instead(directory: Path) -> None:
    torch.save(load_file(directory / _WEIGHTS), directory / "pytorch_model.bin")
    (directory / _WEIGHTS).unlink()


def _garbage_pickle_instead(directory: Path) -> None:
    (directory / "pytorch_model.bin").write_bytes(pickle.dumps(shutil.copytree))
    (directory / _WEIGHTS).unlink()
