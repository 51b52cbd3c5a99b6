"""From the name of a model to its directory: found where it may be, refused everywhere else."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gemma4_block.catalogue import EMBEDDED_ADAPTERS
from gemma4_block.engine.pool.resolver import Found, locate, resolve
from gemma4_block.errors import CheckpointError, ConfigurationError, ModelNotFoundError
from gemma4_block.settings import Settings

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NO_ROOTS = Settings(model_roots=())
# A safetensors file without tensors: the length of its header, and the header.
EMPTY_WEIGHTS = b"\x02\0\0\0\0\0\0\0{}"
# One with a tensor of four bytes.
WEIGHTS = (
    b"\x3a\0\0\0\0\0\0\0" + b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'.ljust(58) + b"\0\0\0\0"
)


def _settings(*roots: Path) -> Settings:
    return Settings(model_roots=roots)


def _write_model(directory: Path) -> Path:
    directory.mkdir(parents=True)
    (directory / "config.json").write_text("{}", encoding="utf-8")
    (directory / "model.safetensors").write_bytes(EMPTY_WEIGHTS)
    return directory


def _write_adapter(directory: Path) -> Path:
    directory.mkdir(parents=True)
    (directory / "adapter_config.json").write_text("{}", encoding="utf-8")
    (directory / "adapter_model.safetensors").write_bytes(EMPTY_WEIGHTS)
    return directory


def _write_snapshot(
    cache: Path, repository: str = "models--google--gemma-4-E2B-it", *, model_type: str = "gemma4"
) -> Path:
    """Write what `hf download` leaves: files are links into blobs/."""
    snapshot = cache / repository / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (cache / repository / "refs").mkdir()
    (cache / repository / "refs" / "main").write_text(COMMIT, encoding="utf-8")
    blobs = cache / repository / "blobs"
    blobs.mkdir()
    files = {
        "config.json": json.dumps({"model_type": model_type}).encode(),
        "model.safetensors": EMPTY_WEIGHTS,
    }
    for name, content in files.items():
        (blobs / name).write_bytes(content)
        (snapshot / name).symlink_to(blobs / name)
    return snapshot


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder that the operator named."""
    folder = (tmp_path / "models").resolve()
    folder.mkdir()
    return folder


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Empty Hugging Face caches: the one of the process, and the one of a bare shell."""
    shell = tmp_path / "xdg"
    monkeypatch.setenv("XDG_CACHE_HOME", str(shell))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf_home"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub_cache"))
    return {
        "set": tmp_path / "hub_cache",
        "home": tmp_path / "hf_home" / "hub",
        "shell": shell / "huggingface" / "hub",
    }


def test_the_embedded_model_is_there_without_any_roots() -> None:
    """The demo runs after the installation, with nothing fetched and nothing set."""
    directory = resolve("gemma-4-demo", NO_ROOTS)
    assert directory.parts[-3:] == ("gemma4_block", "demo", "checkpoint")
    assert (directory / "model.safetensors").is_file()


@pytest.mark.parametrize(
    "name", ["gemma-4-e2b-it", "my-project/3", "fine/tuned/deep", "plain folder", ".hidden"]
)
def test_a_name_is_a_directory_under_a_root(root: Path, name: str) -> None:
    """An id, a project/version or any relative path is found under the operator's root."""
    expected = _write_model(root / name)
    assert expected == resolve(name, _settings(root))


def test_an_absolute_path_under_a_root_is_found(root: Path) -> None:
    """The full path of a directory under a root names it as well as the relative one."""
    expected = _write_model(root / "mine")
    assert expected == resolve(str(root / "mine"), _settings(root))


def test_a_root_may_itself_be_the_model(root: Path) -> None:
    """An operator who names one model's directory as root has allowed that model."""
    expected = _write_model(root / "mine")
    assert expected == resolve(str(expected), _settings(expected))


def test_the_first_root_wins(root: Path, tmp_path: Path) -> None:
    """Roots are searched in the order in which the operator wrote them."""
    other = tmp_path / "other"
    _write_model(root / "gemma-4-e2b-it")
    expected = _write_model(other / "gemma-4-e2b-it")
    assert expected.resolve() == resolve("gemma-4-e2b-it", _settings(other, root))


def test_a_root_that_is_a_link_is_followed(root: Path, tmp_path: Path) -> None:
    """A root may be a link of the operator's; paths through it and around it are the same directory."""
    link = tmp_path / "link"
    link.symlink_to(root)
    expected = _write_model(root / "mine")
    for name in ("mine", str(link / "mine"), str(root / "mine")):
        assert expected == resolve(name, _settings(link))


@pytest.mark.parametrize("place", ["set", "home", "shell"])
def test_a_downloaded_snapshot_is_found(caches: dict[str, Path], place: str) -> None:
    """`hf download` in any shell is enough, although inference_models redirects the process's cache."""
    expected = _write_snapshot(caches[place])
    assert expected.resolve() == resolve("gemma-4-e2b-it", NO_ROOTS)


def test_an_unfinished_download_does_not_hide_a_finished_one(caches: dict[str, Path]) -> None:
    """Caches hold torsos by nature; the first complete snapshot is taken."""
    (_write_snapshot(caches["set"]) / "model.safetensors").unlink()
    expected = _write_snapshot(caches["shell"])
    assert expected.resolve() == resolve("gemma-4-e2b-it", NO_ROOTS)


def test_a_root_comes_before_the_caches(root: Path, caches: dict[str, Path]) -> None:
    """What the operator put under a root is meant, whatever was downloaded once."""
    _write_snapshot(caches["set"])
    expected = _write_model(root / "gemma-4-e2b-it")
    assert expected == resolve("gemma-4-e2b-it", _settings(root))


def test_a_missing_variant_says_where_it_was_looked_for_and_how_to_get_it(
    root: Path, caches: dict[str, Path]
) -> None:
    """The operator reads every place and the one command that helps."""
    with pytest.raises(CheckpointError) as caught:
        resolve("gemma-4-26b-a4b-it", _settings(root))
    message = str(caught.value)
    assert f"{root / 'gemma-4-26b-a4b-it'}: not there" in message
    assert "inference_models package cache" in message
    assert all(f"Hugging Face cache {folder}: not there" in message for folder in caches.values())
    assert message.endswith("Fetch it with: gemma4-block pull gemma-4-26b-a4b-it")


def test_the_place_of_a_model_is_told(root: Path, caches: dict[str, Path]) -> None:
    """Whoever asks where a model comes from reads it, wherever it is."""
    directory = _write_model(root / "gemma-4-e2b-it")
    expected = Found(place=f"directory {directory}", directory=directory)
    assert expected == locate("gemma-4-e2b-it", _settings(root))
    snapshot = _write_snapshot(caches["shell"]).resolve()
    expected = Found(place=f"Hugging Face cache {caches['shell']}", directory=snapshot)
    assert expected == locate("gemma-4-e2b-it", NO_ROOTS)
    for embedded in ("gemma-4-demo", *EMBEDDED_ADAPTERS):
        assert locate(embedded, NO_ROOTS).place == "comes with the package"


def test_what_is_nowhere_is_told_from_what_is_damaged(caches: dict[str, Path]) -> None:
    """A model that nobody fetched is no fault; one that was fetched in part is."""
    with pytest.raises(ModelNotFoundError):
        resolve("gemma-4-e2b-it", NO_ROOTS)
    (_write_snapshot(caches["set"]) / "config.json").unlink()
    with pytest.raises(CheckpointError) as caught:
        resolve("gemma-4-e2b-it", NO_ROOTS)
    assert not isinstance(caught.value, ModelNotFoundError)


def test_a_torso_in_a_cache_is_reported_with_the_missing_file(caches: dict[str, Path]) -> None:
    """Where no complete snapshot exists, the message says what the incomplete one lacks."""
    snapshot = _write_snapshot(caches["set"])
    (caches["set"] / "models--google--gemma-4-E2B-it" / "blobs" / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=f"{snapshot.resolve()} lacks model.safetensors"):
        resolve("gemma-4-e2b-it", NO_ROOTS)


@pytest.mark.parametrize("model_type", ["gemma4", "gemma4_unified"])
def test_another_gemma_4_of_the_hub_is_found_by_its_name(caches: dict[str, Path], model_type: str) -> None:
    """Somebody's fine-tuned model that the operator has fetched is asked for as the hub calls it."""
    expected = _write_snapshot(caches["shell"], "models--someone--mine", model_type=model_type)
    assert expected.resolve() == resolve("someone/mine", NO_ROOTS)


def test_nobody_finds_out_what_else_was_fetched(caches: dict[str, Path]) -> None:
    """Of a repository that is no Gemma 4 model a request reads what it reads of one that is not there."""
    _write_snapshot(caches["set"], "models--someone--else", model_type="gemma3")
    messages = []
    for name in ("someone/else", "someone/none"):
        with pytest.raises(ModelNotFoundError) as caught:
            resolve(name, NO_ROOTS)
        messages.append(str(caught.value).replace(name, "NAME"))
    assert messages[0] == messages[1]
    assert "no Gemma 4 model of that name" in messages[0]
    assert "gemma4-block pull NAME" in messages[0]


@pytest.mark.parametrize("name", ["gemma-4-e2b-it", "google/gemma-4-E2B-it"])
@pytest.mark.parametrize("place", ["id", "hub name", "cache"])
def test_a_variant_is_found_by_either_name_wherever_it_is(
    root: Path, caches: dict[str, Path], name: str, place: str
) -> None:
    """Whoever pastes the hub's name gets the same model as who knows the id."""
    if place == "cache":
        expected = _write_snapshot(caches["set"]).resolve()
    else:
        expected = _write_model(root / ("gemma-4-e2b-it" if place == "id" else "google/gemma-4-E2B-it"))
    assert expected == resolve(name, _settings(root))


def test_the_name_of_no_possible_repository_is_missing(root: Path) -> None:
    """The hub's rules for names are its own; a name that breaks them is not there."""
    with pytest.raises(ModelNotFoundError, match=r"some--one/x\.git is not on this machine"):
        resolve("some--one/x.git", _settings(root))


@pytest.mark.parametrize(
    "name",
    ["gemma-5", "gemma-4-E2B-it", "a/b/c", ".", "./", "~", "~/models", "-rf", "/", "//etc", "C:\\models"],
)
def test_an_unknown_name_is_refused_with_the_known_ones(name: str) -> None:
    """A name that cannot be an id is a mistake in the workflow, not a missing download."""
    with pytest.raises(ConfigurationError) as caught:
        resolve(name, NO_ROOTS)
    message = str(caught.value)
    assert "gemma-4-e2b-it, gemma-4-e4b-it, gemma-4-12b-it, gemma-4-26b-a4b-it, gemma-4-31b-it" in message
    assert "GEMMA4_BLOCK_MODEL_ROOTS (none is set, so no directory can be named)" in message


@pytest.mark.parametrize(
    "name",
    [
        "",
        " \n",
        "gemma-4-e2b-it\0",
        "\0",
        "a\nb",
        "\ud800",
        "a" * 256,
        "é" * 200,
        "a/" * 600,
        "x" * 1_000_000,
        "https://example.com/model",
        "file:///etc",
        "hf://google/gemma-4-E2B-it",
        "..",
        "../models",
        "my-project/../../etc",
        "/models/../etc",
    ],
    ids=lambda name: repr(name[:20]),
)
def test_a_hostile_name_is_refused_before_any_file_is_touched(root: Path, name: str) -> None:
    """Nothing that a request sends climbs, crashes the file system calls or reaches out."""
    with pytest.raises(ConfigurationError, match=r"^model_version is "):
        resolve(name, _settings(root))


def test_a_refusal_does_not_repeat_a_huge_name() -> None:
    """A name of a million characters does not end up in the logs."""
    with pytest.raises(ConfigurationError) as caught:
        resolve("x" * 1_000_000, NO_ROOTS)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("has_root", [False, True])
def test_an_absolute_path_outside_the_roots_is_refused(tmp_path: Path, root: Path, *, has_root: bool) -> None:
    """A directory that the operator did not allow is refused, complete or not."""
    outside = _write_model(tmp_path / "models-of-others")
    with pytest.raises(ConfigurationError, match="outside the operator's folders"):
        resolve(str(outside), _settings(root) if has_root else NO_ROOTS)


def test_a_refusal_does_not_tell_whether_the_path_exists(tmp_path: Path, root: Path) -> None:
    """A request cannot find out which files the machine has."""
    outside = _write_model(tmp_path / "outside")
    messages = []
    for name in (str(outside), str(tmp_path / "missing")):
        with pytest.raises(ConfigurationError) as caught:
            resolve(name, _settings(root))
        messages.append(str(caught.value).replace(name, "NAME"))
    assert messages[0] == messages[1]


@pytest.mark.parametrize("is_absolute", [False, True])
def test_a_link_that_leads_out_of_the_roots_is_refused(
    tmp_path: Path, root: Path, *, is_absolute: bool
) -> None:
    """A link under a root does not open the rest of the machine."""
    outside = _write_model(tmp_path / "outside")
    (root / "link").symlink_to(outside)
    with pytest.raises(ConfigurationError, match="a link leads out of the operator's folders"):
        resolve(str(root / "link") if is_absolute else "link", _settings(root))


def test_a_link_on_the_way_that_leads_out_is_refused(tmp_path: Path, root: Path) -> None:
    """It does not matter which part of the path is the link."""
    _write_model(tmp_path / "outside" / "model")
    (root / "link").symlink_to(tmp_path / "outside")
    with pytest.raises(ConfigurationError, match="a link leads out of the operator's folders"):
        resolve("link/model", _settings(root))


def test_a_base_that_leads_out_is_refused(tmp_path: Path, root: Path) -> None:
    """An adapter's base/ is loaded too, so it must stay inside the roots as well."""
    _write_adapter(root / "mine")
    (root / "mine" / "base").symlink_to(_write_model(tmp_path / "outside"))
    with pytest.raises(ConfigurationError, match="a link leads out of the operator's folders"):
        resolve("mine", _settings(root))


def test_links_between_roots_are_followed(tmp_path: Path, root: Path) -> None:
    """Adapters may share a base that lies under another root."""
    other = tmp_path / "other"
    _write_adapter(root / "mine")
    (root / "mine" / "base").symlink_to(_write_model(other / "gemma-4-e2b-it"))
    assert root / "mine" == resolve("mine", _settings(root, other))


def test_links_in_a_circle_are_no_directory(root: Path) -> None:
    """A link to itself is answered like a missing directory."""
    (root / "circle").symlink_to(root / "circle")
    with pytest.raises(ConfigurationError, match="no known model"):
        resolve("circle", _settings(root))


def test_a_missing_directory_under_a_root_is_named(root: Path) -> None:
    """An allowed path where nothing lies is a missing checkpoint."""
    with pytest.raises(CheckpointError, match=f"There is no directory {root / 'missing'}"):
        resolve(str(root / "missing"), _settings(root))


def test_a_file_is_no_model_directory(root: Path) -> None:
    """Naming the weights file instead of its directory is answered as such."""
    (root / "model.safetensors").write_bytes(b"weights")
    with pytest.raises(CheckpointError, match="There is no directory"):
        resolve(str(root / "model.safetensors"), _settings(root))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may look into every directory")
def test_a_directory_that_may_not_be_entered_is_missing(root: Path) -> None:
    """Missing permissions are answered, not raised as a bare OSError."""
    (root / "locked").mkdir(mode=0o000)
    with pytest.raises(CheckpointError, match="There is no directory"):
        resolve(str(root / "locked" / "model"), _settings(root))


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
def test_a_directory_that_lacks_a_file_is_named_with_the_file(root: Path, missing: str) -> None:
    """An unfinished copy is found before anything is loaded."""
    (_write_model(root / "mine") / missing).unlink()
    with pytest.raises(CheckpointError, match=f"{root / 'mine'} lacks {missing}"):
        resolve("mine", _settings(root))


def test_every_shard_of_the_index_must_be_there(root: Path) -> None:
    """Large models come in several files, and each missing one is named."""
    directory = root / "gemma-4-31b-it"
    directory.mkdir()
    (directory / "config.json").write_text("{}", encoding="utf-8")
    shards = [f"model-0000{number}-of-00003.safetensors" for number in (1, 2, 3)]
    index = {"weight_map": {f"tensor{number}": shard for number, shard in enumerate(shards * 2)}}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    (directory / shards[0]).write_bytes(EMPTY_WEIGHTS)
    with pytest.raises(CheckpointError, match=f"lacks {shards[1]}, {shards[2]}"):
        resolve("gemma-4-31b-it", _settings(root))
    (directory / shards[1]).write_bytes(EMPTY_WEIGHTS)
    (directory / shards[2]).write_bytes(EMPTY_WEIGHTS)
    assert directory == resolve("gemma-4-31b-it", _settings(root))


def test_whole_weights_are_complete(root: Path) -> None:
    """A file as long as its header says is what it should be."""
    (_write_model(root / "mine") / "model.safetensors").write_bytes(WEIGHTS)
    assert root / "mine" == resolve("mine", _settings(root))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(b"", "(0 of 8 bytes)", id="empty"),
        pytest.param(WEIGHTS[:7], "(7 of 8 bytes)", id="in the length"),
        pytest.param(WEIGHTS[:20], "(20 of 66 bytes)", id="in the header"),
        pytest.param(WEIGHTS[:-1], "(69 of 70 bytes)", id="in a tensor"),
        pytest.param(
            b"version https://git-lfs.github.com/spec/v1\noid",
            "(only a pointer: run git lfs pull)",
            id="pointer",
        ),
    ],
)
@pytest.mark.parametrize("name", ["model.safetensors", "model-00002-of-00002.safetensors"])
def test_a_shard_that_was_cut_off_is_named(root: Path, name: str, content: bytes, words: str) -> None:
    """A download that broke off is told by the file that it left, before anything is loaded."""
    directory = _write_model(root / "mine")
    (directory / "model.safetensors").unlink()
    if name != "model.safetensors":
        (directory / "model-00001-of-00002.safetensors").write_bytes(WEIGHTS)
        index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": name}}
        (directory / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    (directory / name).write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        resolve("mine", _settings(root))
    assert f"{directory} holds files that were cut off: {name} {words}. Finish the copy" in str(caught.value)


def test_a_finished_copy_is_looked_at_anew(root: Path) -> None:
    """What was cut off once is whole as soon as its file is."""
    weights = _write_model(root / "mine") / "model.safetensors"
    weights.write_bytes(WEIGHTS[:-1])
    with pytest.raises(CheckpointError, match="cut off"):
        resolve("mine", _settings(root))
    weights.write_bytes(WEIGHTS)
    assert root / "mine" == resolve("mine", _settings(root))


def test_a_cut_off_download_does_not_hide_a_whole_one(caches: dict[str, Path]) -> None:
    """The next cache may have what this one has only in part."""
    (_write_snapshot(caches["set"]) / "model.safetensors").resolve().write_bytes(WEIGHTS[:-1])
    expected = _write_snapshot(caches["shell"])
    assert expected.resolve() == resolve("gemma-4-e2b-it", NO_ROOTS)


def test_the_base_and_the_adapter_must_be_whole(root: Path) -> None:
    """An adapter that was cut off is named as a shard of its base is."""
    directory = _write_adapter(root / "mine")
    base = _write_model(directory / "base")
    (directory / "adapter_model.safetensors").write_bytes(WEIGHTS[:-1])
    with pytest.raises(CheckpointError, match=r"cut off: adapter_model\.safetensors"):
        resolve("mine", _settings(root))
    (directory / "adapter_model.safetensors").write_bytes(WEIGHTS)
    (base / "model.safetensors").write_bytes(WEIGHTS[:-1])
    with pytest.raises(CheckpointError, match=r"cut off: model\.safetensors .* in base/"):
        resolve("mine", _settings(root))


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"weight_map": 3}'])
def test_a_damaged_index_is_named(root: Path, content: str) -> None:
    """An index that was cut off is the checkpoint's fault, and says so."""
    (_write_model(root / "mine") / "model.safetensors.index.json").write_text(content, encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"model.safetensors.index.json cannot be read"):
        resolve("mine", _settings(root))


def test_an_adapter_beside_its_base_is_complete(root: Path) -> None:
    """The LoRA layout needs no weights of its own beside the adapter."""
    directory = _write_adapter(root / "my-project" / "3")
    _write_model(directory / "base")
    assert directory == resolve("my-project/3", _settings(root))


def test_an_adapter_without_its_base_is_refused(root: Path) -> None:
    """An adapter alone cannot answer."""
    _write_adapter(root / "mine")
    with pytest.raises(CheckpointError, match="lacks base/, the folder with the weights"):
        resolve("mine", _settings(root))


def test_an_adapter_without_weights_is_refused(root: Path) -> None:
    """An adapter's configuration alone is no adapter."""
    directory = _write_adapter(root / "mine")
    _write_model(directory / "base")
    (directory / "adapter_model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"lacks adapter_model\.safetensors"):
        resolve("mine", _settings(root))


def test_an_adapter_whose_base_is_a_torso_is_refused(root: Path) -> None:
    """The base is checked like any checkpoint."""
    directory = _write_adapter(root / "mine")
    (_write_model(directory / "base") / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"lacks model\.safetensors in base/"):
        resolve("mine", _settings(root))


def test_adapter_weights_are_no_model_weights(root: Path) -> None:
    """Adapter files beside a config.json do not pass for the model."""
    directory = _write_model(root / "mine")
    (directory / "model.safetensors").rename(directory / "adapter_model.safetensors")
    with pytest.raises(CheckpointError, match=r"lacks model\.safetensors"):
        resolve("mine", _settings(root))


_FIND_PACKAGE = """
import json, sys
from pathlib import Path
from inference_models.models.auto_loaders.core import OFFLINE_CACHE_MANIFEST_VERSION
from inference_models.models.auto_loaders.model_cache_paths import generate_model_package_cache_path
from gemma4_block.engine.pool.resolver import resolve
from gemma4_block.settings import Settings

for model_id in ("gemma-4-e2b-it", "my-project/3"):
    package = Path(generate_model_package_cache_path(model_id=model_id, package_id="package1"))
    package.mkdir(parents=True)
    manifest = {
        "model_architecture": "gemma-4", "task_type": "vlm", "backend_type": "hugging-face",
        "model_id": model_id, "canonical_model_id": model_id,
        "offline_manifest_version": OFFLINE_CACHE_MANIFEST_VERSION, "dependency_package_paths": [],
    }
    (package / "model_config.json").write_text(json.dumps(manifest))
    (package / "config.json").write_text("{}")
    (package / "model.safetensors").write_bytes(b"\\x02" + bytes(7) + b"{}")
    print(resolve(model_id, Settings(model_roots=())) == package.resolve())
print("transformers" in sys.modules)
"""


@pytest.mark.slow
def test_a_package_that_the_host_has_fetched_is_found(tmp_path: Path) -> None:
    """What inference_models has in its cache, variant or fine-tuned, is used; transformers is not needed."""
    environment = os.environ | {"MODEL_CACHE_DIR": str(tmp_path), "OFFLINE_MODE": "true"}
    # The host reads its cache folder once, when it is imported; hence another process.
    environment.pop("INFERENCE_HOME", None)
    result = subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-c", _FIND_PACKAGE], env=environment, capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == ["True", "True", "False"]
