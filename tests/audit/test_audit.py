"""What comes with the wheel may be used, no secret is in the tree, and no answer is no clean bill."""

import json
from importlib.metadata import PathDistribution
from pathlib import Path

import pytest

from tests.audit.licences import EXEMPTIONS, Licence, is_permissive, read_licences, read_stated
from tests.audit.secrets import Secret, find_secrets, tracked_files
from tests.audit.vulnerabilities import Report, Vulnerability, read_report

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def licences() -> list[Licence]:
    """The licences of everything that the wheel needs on this machine."""
    return read_licences("gemma4-block")


def test_everything_that_comes_with_the_wheel_may_be_used(licences: list[Licence]) -> None:
    """A licence is permissive, or there is a reason beside the package's name."""
    refused = [one for one in licences if not one.is_permissive and one.exemption is None]
    assert refused == []


def test_the_tree_of_dependencies_is_followed_to_its_end(licences: list[Licence]) -> None:
    """Dependencies of dependencies are in it, those of extras too; the developers' tools are not."""
    names = {one.package for one in licences}
    assert {"gemma4-block", "torch", "inference", "uvicorn", "roboflow-workflows", "certifi"} <= names
    assert {"ruff", "mypy", "pip-audit"}.isdisjoint(names)


def test_every_exemption_is_needed(licences: list[Licence]) -> None:
    """A package that has gone, or that has changed its licence, takes its exemption with it."""
    used = {id(one.exemption) for one in licences if not one.is_permissive}
    # CUDA's libraries come with the wheels of torch for Linux only.
    unused = [one for one in EXEMPTIONS if id(one) not in used and "CUDA" not in one.reason]
    assert unused == []


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("MIT", True),
        ("Apache-2.0 AND BSD-3-Clause", True),
        ("GPL-3.0-only OR MIT", True),
        ("MPL-2.0 AND (Apache-2.0 OR MIT)", False),
        ("GPL-3.0-only", False),
        ("Apache-2.0 WITH LLVM-exception", True),
        ("LicenseRef-NVIDIA-Proprietary", False),
        ("Other/Proprietary License", False),
        ("", False),
    ],
)
def test_an_expression_is_met_by_permissive_licences_or_not(expression: str, expected: bool) -> None:  # noqa: FBT001 - a case
    """All parts of AND, one of OR, and nothing that is no SPDX."""
    assert is_permissive(expression) is expected


@pytest.mark.parametrize(
    ("package", "stated", "is_exempt"),
    [
        ("certifi", "MPL-2.0", True),
        ("certifi", "GPL-3.0-only", False),
        ("another", "MPL-2.0", False),
        ("nvidia-cublas", "LicenseRef-NVIDIA-Proprietary", True),
        ("rf-clip", "", True),
        ("rf-clip", "GPL-3.0-only", False),
    ],
)
def test_an_exemption_is_for_one_licence_of_one_package(package: str, stated: str, is_exempt: bool) -> None:  # noqa: FBT001 - a case
    """Whoever changes the licence is looked at again."""
    licence = Licence(package=package, version="1", stated=stated)
    assert (licence.exemption is not None) is is_exempt


@pytest.mark.parametrize(
    ("lines", "stated"),
    [
        (["License-Expression: MIT OR Apache-2.0", "License: other"], "MIT OR Apache-2.0"),
        (["Classifier: License :: OSI Approved :: MIT License"], "MIT"),
        (["Classifier: License :: OSI Approved :: BSD License", "License: BSD-2-Clause"], "BSD-2-Clause"),
        (["License: Apache 2.0"], "Apache-2.0"),
        (["License: MY OWN TERMS", "Classifier: License :: OSI Approved"], "MY OWN TERMS"),
        (
            [
                "Classifier: License :: OSI Approved :: MIT License",
                "Classifier: License :: OSI Approved :: Apache Software License",
            ],
            "MIT AND Apache-2.0",
        ),
        (
            [
                "Classifier: License :: OSI Approved :: BSD License",
                "Classifier: License :: Other/Proprietary License",
            ],
            "BSD-3-Clause; Other/Proprietary License",
        ),
        ([], ""),
    ],
)
def test_a_licence_is_read_as_the_package_states_it(tmp_path: Path, lines: list[str], stated: str) -> None:
    """By expression, else by text or classifiers, in SPDX where they are known."""
    folder = tmp_path / "one-1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(
        "\n".join(["Metadata-Version: 2.4", "Name: one", "Version: 1", *lines, ""])
    )
    assert read_stated(PathDistribution(folder)) == stated


def test_a_secret_is_found_and_a_marked_line_is_not(tmp_path: Path) -> None:
    """Keys have forms of their own; a line may say that it only looks like one."""
    key = "AKIA" + "ABCDEFGHIJKLMNOP"
    (tmp_path / "settings.py").write_text(
        f'first = 1\nkey = "{key}"\nshown = "{key}"  # pragma: allowlist secret\n', encoding="utf-8"
    )
    (tmp_path / "id_rsa").write_text("-----BEGIN RSA " + "PRIVATE KEY-----\n", encoding="utf-8")

    assert find_secrets(tmp_path, ["id_rsa", "settings.py"]) == [
        Secret(path="id_rsa", line=1, kind="Private Key"),
        Secret(path="settings.py", line=2, kind="AWS Access Key"),
    ]


@pytest.mark.slow
def test_there_is_no_secret_in_the_tree() -> None:
    """Of all files that git keeps."""
    paths = tracked_files(ROOT)
    assert "pyproject.toml" in paths
    assert find_secrets(ROOT, paths) == []


def test_a_report_names_what_is_known() -> None:
    """Of the packages that the database knows."""
    known = {"id": "GHSA-1", "fix_versions": ["1.1"], "aliases": [], "description": ""}
    packages = [
        {"name": "a", "version": "1.0", "vulns": [known]},
        {"name": "b", "version": "2.0", "vulns": []},
        {"name": "c", "skip_reason": "not found"},
    ]
    assert read_report(json.dumps({"dependencies": packages, "fixes": []})) == Report(
        checked=2,
        skipped=1,
        found=(Vulnerability(package="a", version="1.0", name="GHSA-1", fixed_in=("1.1",)),),
    )


@pytest.mark.parametrize(
    "text",
    ["", "ERROR", "[]", '{"dependencies": []}', '{"dependencies": [{"name": "c", "skip_reason": "x"}]}'],
)
def test_a_database_out_of_reach_is_no_clean_bill(text: str) -> None:
    """Where no package was checked there is no report."""
    assert read_report(text) is None
