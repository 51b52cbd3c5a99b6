"""The models with an id: what people read about them is right."""

import subprocess
import sys

import pytest

from gemma4_block.catalogue import MODEL_IDS, MODEL_TYPES, VARIANTS, find_variant


def test_the_ids_are_the_released_ones() -> None:
    """Saved workflows name these ids, so none may be renamed or dropped."""
    assert MODEL_IDS == (
        "gemma-4-e2b-it",
        "gemma-4-e4b-it",
        "gemma-4-12b-it",
        "gemma-4-26b-a4b-it",
        "gemma-4-31b-it",
        "gemma-4-demo",
    )


@pytest.mark.parametrize(
    ("model_id", "expected"),
    [
        ("gemma-4-e2b-it", "gemma4-block pull gemma-4-e2b-it"),
        ("gemma-4-e4b-it", "gemma4-block pull gemma-4-e4b-it"),
        ("gemma-4-12b-it", "gemma4-block pull gemma-4-12b-it"),
        ("gemma-4-26b-a4b-it", "gemma4-block pull gemma-4-26b-a4b-it"),
        ("gemma-4-31b-it", "gemma4-block pull gemma-4-31b-it"),
        ("gemma-4-demo", None),
    ],
)
def test_the_fetch_command_names_the_hub_repository(model_id: str, expected: str | None) -> None:
    """Every variant but the embedded one says how its weights get onto the machine."""
    variant = find_variant(model_id)
    assert variant is not None
    assert expected == variant.fetch_command


@pytest.mark.parametrize(
    ("model_id", "expected"),
    [
        ("gemma-4-e2b-it", 10.21),
        ("gemma-4-e4b-it", 15.88),
        ("gemma-4-12b-it", 23.92),
        ("gemma-4-26b-a4b-it", 51.61),
        ("gemma-4-31b-it", 62.55),
        ("gemma-4-demo", 0.012),
    ],
)
def test_weights_take_two_bytes_a_parameter(model_id: str, expected: float) -> None:
    """The size that people plan memory by is that of bfloat16."""
    variant = find_variant(model_id)
    assert variant is not None
    assert expected == pytest.approx(variant.weights_gb, abs=0.005)


@pytest.mark.parametrize("model_id", ["", "gemma-4", "GEMMA-4-E2B-IT", "google/gemma-4-E2B-it", "project/3"])
def test_another_id_is_no_variant(model_id: str) -> None:
    """Only the exact id names a variant."""
    assert find_variant(model_id) is None


def test_the_embedded_model_has_its_files() -> None:
    """The demo's directory ships with the package; no other variant claims to be there already."""
    with_directory = [variant for variant in VARIANTS if variant.directory is not None]
    assert [variant.model_id for variant in with_directory] == ["gemma-4-demo"]
    assert with_directory[0].directory is not None
    assert (with_directory[0].directory / "model.safetensors").is_file()


def test_a_variant_without_a_4_bit_size_says_why() -> None:
    """The table's "no" and the refusal come together."""
    assert [variant.nf4_gb is None for variant in VARIANTS] == [
        bool(variant.why_whole) for variant in VARIANTS
    ]


def test_every_licence_says_where_its_terms_are() -> None:
    """Nobody has to guess under which terms weights may be used."""
    assert all("Apache-2.0" in variant.license and "terms" in variant.license for variant in VARIANTS)
    assert VARIANTS[0].license.endswith("https://huggingface.co/google/gemma-4-E2B-it")


def test_the_catalogue_is_light() -> None:
    """Manifests import the catalogue, so it must load no model library."""
    command = (
        "import sys, gemma4_block.catalogue; print({'torch', 'transformers', 'numpy'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)  # noqa: S603 - our own command
    assert result.stdout == "set()\n"


def test_the_model_types_are_those_that_have_rules() -> None:
    """What is found by a hub's name is what can be loaded."""
    from gemma4_block.engine.gemma4 import CONFIG_RULES

    assert tuple(CONFIG_RULES) == MODEL_TYPES
