"""Which weights an adapter is put on: its base/, or what its config names and the operator allows."""

import json
from pathlib import Path

import pytest

from gemma4_block.catalogue import find_variant
from gemma4_block.contract import LocalModel
from gemma4_block.engine.pool import find_reference
from gemma4_block.errors import CheckpointError, ConfigurationError, ModelNotFoundError
from gemma4_block.settings import Settings

# A file of safetensors without tensors: a shorter one would be taken for one that was cut off.
EMPTY = (2).to_bytes(8, "little") + b"{}"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with a model."""
    folder = (tmp_path / "models").resolve()
    write_model(folder / "mine")
    return folder


def write_model(directory: Path) -> Path:
    """Write what looks like a model."""
    directory.mkdir(parents=True)
    (directory / "config.json").write_text("{}", encoding="utf-8")
    (directory / "model.safetensors").write_bytes(EMPTY)
    return directory


def write_adapter(directory: Path, base_name: object = None) -> Path:
    """Write what looks like an adapter, as peft leaves it."""
    directory.mkdir(parents=True)
    content = {"base_model_name_or_path": base_name}
    (directory / "adapter_config.json").write_text(json.dumps(content), encoding="utf-8")
    (directory / "adapter_model.safetensors").write_bytes(EMPTY)
    return directory


def find(name: str, *roots: Path) -> LocalModel:
    """Return what a name means."""
    reference = find_reference(name, "none", Settings(model_roots=roots))
    assert isinstance(reference, LocalModel)
    return reference


def write_snapshot(monkeypatch: pytest.MonkeyPatch, cache: Path) -> Path:
    """Write what `hf download google/gemma-4-E2B-it` leaves."""
    monkeypatch.setenv("HF_HUB_CACHE", str(cache))
    repository = cache / "models--google--gemma-4-E2B-it"
    snapshot = write_model(repository / "snapshots" / ("0" * 40))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40, encoding="utf-8")
    return snapshot.resolve()


def test_a_base_is_one_under_all_of_its_names(root: Path) -> None:
    """A link, a path, a name under a root and a copy of the link lead to one directory, and so one engine."""
    (root / "alias").symlink_to(root / "mine")
    (write_adapter(root / "linked") / "base").symlink_to(root / "mine")
    (write_adapter(root / "twice") / "base").symlink_to(root / "alias")
    for name, base_name in (("path", str(root / "mine")), ("name", "mine"), ("by-alias", "alias")):
        write_adapter(root / name, base_name)
    found = [find(name, root) for name in ("linked", "twice", "path", "name", "by-alias")]
    assert {one.directory for one in found} == {root / "mine"}
    assert [one.adapter for one in found] == [
        root / n for n in ("linked", "twice", "path", "name", "by-alias")
    ]
    assert find("mine", root) == LocalModel(directory=root / "mine", quantization="none")


@pytest.mark.parametrize("base_name", ["google/gemma-4-E2B-it", "gemma-4-e2b-it", "<snapshot>"])
def test_a_base_is_found_by_hub_id_by_ours_and_by_its_path(
    base_name: str, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What peft writes after a training from the hub is the variant that workflows name."""
    snapshot = write_snapshot(monkeypatch, tmp_path / "cache")
    write_adapter(root / "my-project" / "3", base_name.replace("<snapshot>", str(snapshot)))
    assert find("my-project/3", root).directory == snapshot
    assert find("gemma-4-e2b-it", root).directory == snapshot


def test_the_embedded_model_can_be_a_base(root: Path) -> None:
    """Adapters of the demo need no copy of it, and stay whole as it does."""
    variant = find_variant("gemma-4-demo")
    assert variant is not None
    write_adapter(root / "codes", "gemma-4-demo")
    write_adapter(root / "by-path", str(variant.directory))
    assert find("codes", root).directory == find("by-path", root).directory == variant.directory
    with pytest.raises(ConfigurationError, match="nf4 was asked for gemma-4-demo"):
        find_reference("codes", "nf4", Settings(model_roots=(root,)))


def test_the_folder_beside_an_adapter_wins(root: Path) -> None:
    """A name in the config is looked for only where there is no base/."""
    write_model(write_adapter(root / "tuned", "mine") / "base")
    assert find("tuned", root).directory == root / "tuned" / "base"


@pytest.mark.parametrize(
    ("base_name", "words"),
    [
        pytest.param("/etc", "outside the operator's folders", id="a path elsewhere"),
        pytest.param("../mine", "must not climb", id="a path that climbs"),
        pytest.param("https://example.com/model", "not fetched from addresses", id="an address"),
        pytest.param("m" * 5000, "too long", id="a long name"),
        pytest.param("missing", "no known model", id="nowhere"),
        pytest.param(["mine"], "base_model_name_or_path is no text", id="no text"),
        pytest.param("tuned", "which is an adapter itself", id="another adapter"),
        pytest.param("", "lacks base/", id="nothing"),
        pytest.param(None, "lacks base/", id="null"),
    ],
)
def test_a_name_in_a_config_is_trusted_no_more_than_one_in_a_request(
    base_name: object, words: str, root: Path
) -> None:
    """The same rules hold, the error names the adapter's file, and says what to do."""
    write_model(write_adapter(root / "tuned") / "base")
    write_adapter(root / "strange", base_name)
    with pytest.raises(CheckpointError, match=words) as caught:
        find("strange", root)
    assert str(root / "strange") in str(caught.value)


def test_a_base_that_is_not_here_is_named(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the command that fetches it, as where it had been asked for itself."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "empty"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "empty"))
    write_adapter(root / "tuned", "google/gemma-4-31B-it")
    with pytest.raises(ModelNotFoundError, match=r"gemma4-block pull gemma-4-31b-it.*or a link to it"):
        find("tuned", root)


def test_a_link_that_leads_nowhere_is_not_replaced_by_a_name(root: Path) -> None:
    """Who linked a base meant that one."""
    (write_adapter(root / "tuned", "mine") / "base").symlink_to(root / "gone")
    with pytest.raises(CheckpointError, match="there is a link, and it leads nowhere"):
        find("tuned", root)
