"""The licences of everything that comes with the wheel: permissive, or an exception with its reason."""

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import lru_cache
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from typing import Final

from license_expression import ExpressionError, LicenseExpression, Licensing, get_spdx_licensing
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# Permissive by the Open Source Initiative's reading: use, change and pass on, with the notice kept.
ALLOWED: Final = frozenset(
    {
        *("0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0"),
        *("CNRI-Python", "ISC", "MIT", "MIT-0", "MIT-CMU", "PSF-2.0", "Unlicense", "Zlib"),
    }
)

# What packages call licences where they do not say it in SPDX.
_SPDX: Final = {
    "3-clause bsd license": "BSD-3-Clause",
    "apache": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache 2.0 license": "Apache-2.0",
    "apache license": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "bsd": "BSD-3-Clause",
    "bsd license": "BSD-3-Clause",
    "freebsd": "BSD-2-Clause",
    "isc license (iscl)": "ISC",
    "mit license": "MIT",
    "mit licensed, as found in the license file": "MIT",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "python software foundation license": "PSF-2.0",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Exemption:
    """A licence that is not on the list, and why its package may be used all the same.

    Attributes:
        packages: Their names; `*` stands for anything.
        stated: The licence as the package states it; empty where it states none.
        reason: Why it may be used.

    """

    packages: tuple[str, ...]
    stated: str
    reason: str


_LIBRARY: Final = (
    "the host's dependency, imported unchanged as a library of its own, and not part of our wheel"
)
_CUDA: Final = (
    "CUDA's own libraries, which torch's wheels for NVIDIA GPUs bring under NVIDIA's terms, unchanged"
)

EXEMPTIONS: Final = (
    Exemption(packages=("cairosvg",), stated="LGPL-3.0-or-later", reason=_LIBRARY),
    Exemption(packages=("psycopg", "psycopg-binary"), stated="LGPL-3.0-only", reason=_LIBRARY),
    Exemption(
        packages=("asyncua",),
        stated="GNU Lesser General Public License v3 or later (LGPLv3+)",
        reason=_LIBRARY,
    ),
    Exemption(
        packages=("num2words", "python-bidi"),
        stated="GNU Library or Lesser General Public License (LGPL)",
        reason=_LIBRARY,
    ),
    Exemption(packages=("certifi",), stated="MPL-2.0", reason="file by file, and no file of it is changed"),
    Exemption(packages=("tqdm",), stated="MPL-2.0 AND MIT", reason="file by file, and no file is changed"),
    Exemption(
        packages=("orjson",),
        stated="MPL-2.0 AND (Apache-2.0 OR MIT)",
        reason="file by file, and no file of it is changed",
    ),
    Exemption(
        packages=("paho-mqtt",),
        stated="Eclipse Public License v2.0 / Eclipse Distribution License v1.0",
        reason="either may be chosen, and the Eclipse Distribution License is BSD-3-Clause",
    ),
    Exemption(packages=("nvidia-*",), stated="LicenseRef-NVIDIA-Proprietary", reason=_CUDA),
    Exemption(packages=("nvidia-*",), stated="NVIDIA Proprietary Software", reason=_CUDA),
    Exemption(packages=("cuda-toolkit",), stated="", reason=_CUDA),
    Exemption(
        packages=("roboflow-workflows", "streamvision"),
        stated="LICENSE.core (Apache 2.0) applies to all files in this repository",
        reason="the core is Apache-2.0; we import nothing of the enterprise folders, which are not",
    ),
    Exemption(
        packages=("inference-models",),
        stated="",
        reason="its repository is Apache-2.0, but for folders with licences of their own",
    ),
    Exemption(packages=("rf-clip",), stated="", reason="its file LICENSE is the MIT licence"),
    Exemption(
        packages=("rf-segment-anything",), stated="", reason="its file LICENSE is the Apache License 2.0"
    ),
    Exemption(
        packages=("pypdfium2",),
        stated="BSD-3-Clause, Apache-2.0, dependency licenses",
        reason="the list names permissive licences; those of PDFium's parts are BSD, MIT and the like",
    ),
    Exemption(
        packages=("qrcode",),
        stated="BSD-3-Clause; Other/Proprietary License",
        reason="its file LICENSE is BSD-3-Clause and MIT, and names a trademark",
    ),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Licence:
    """The licence of a package.

    Attributes:
        package: Its name.
        version: The installed one.
        stated: What it says: SPDX where possible, else its own words; empty where it says nothing.

    """

    package: str
    version: str
    stated: str

    @property
    def is_permissive(self) -> bool:
        """Whether one can choose permissive licences alone."""
        return is_permissive(self.stated)

    @property
    def exemption(self) -> Exemption | None:
        """Why it may be used where it is not permissive; None where nothing says so."""
        for one in EXEMPTIONS:
            is_named = any(fnmatch(self.package, pattern) for pattern in one.packages)
            if is_named and (self.stated.startswith(one.stated) if one.stated else not self.stated):
                return one
        return None


@lru_cache
def is_permissive(expression: str) -> bool:
    """Say whether an SPDX expression can be met by permissive licences alone.

    Args:
        expression: As in `MPL-2.0 AND (Apache-2.0 OR MIT)`; another text is not permissive.

    Returns:
        For AND whether all parts are, for OR whether one is.

    """
    licensing, allowed = _read_list()
    try:
        parsed = licensing.parse(expression, validate=True)
    except ExpressionError:
        return False
    if parsed is None:
        return False
    met = {literal: licensing.TRUE if literal in allowed else licensing.FALSE for literal in parsed.literals}
    return bool(parsed.subs(met).simplify() == licensing.TRUE)


@lru_cache
def _read_list() -> tuple[Licensing, frozenset[LicenseExpression]]:
    # Building SPDX's list of licences takes a tenth of a second.
    licensing = get_spdx_licensing()
    return licensing, frozenset(licensing.parse(name) for name in ALLOWED)


def read_licences(root: str) -> list[Licence]:
    """Return the licences of a package and of everything that it needs on this machine.

    Args:
        root: An installed package.

    Returns:
        One for each, by name.

    """
    return [
        Licence(package=name, version=found.version, stated=read_stated(found))
        for name, found in sorted(_walk(root).items())
    ]


def _walk(root: str) -> dict[str, Distribution]:
    found: dict[str, Distribution] = {}
    extras_seen: set[tuple[str, frozenset[str]]] = set()
    left = [Requirement(root)]
    while left:
        wanted = left.pop()
        name = canonicalize_name(wanted.name)
        key = (name, frozenset(wanted.extras))
        if key in extras_seen:
            continue
        extras_seen.add(key)
        try:
            found[name] = distribution(wanted.name)
        except PackageNotFoundError:
            # What pyproject.toml leaves out on purpose; it brings no licence.
            continue
        left += _requirements(found[name], wanted.extras)
    return found


def _requirements(package: Distribution, extras: set[str]) -> Iterator[Requirement]:
    for line in package.requires or []:
        requirement = Requirement(line)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in {"", *extras}):
            yield requirement


def read_stated(package: Distribution) -> str:
    """Return the licence that a package states.

    Args:
        package: An installed one.

    Returns:
        SPDX where possible, else its own words; empty where it says nothing.

    """
    metadata = package.metadata
    # In a process that has imported importlib_metadata, a missing key raises where it is asked for by [].
    expression = metadata.get("License-Expression")
    if expression:
        return str(expression)
    classifiers = [
        value.rsplit(" :: ", 1)[-1]
        for value in metadata.get_all("Classifier") or []
        if value.startswith("License :: ") and value != "License :: OSI Approved"
    ]
    (text, *_) = str(metadata.get("License") or "").strip().splitlines() or [""]
    if not classifiers or is_permissive(text):
        return _SPDX.get(text.lower(), text)
    named = [_SPDX.get(one.lower(), one) for one in classifiers]
    # Several classifiers do not say whether all of them hold, or one may be chosen.
    return " AND ".join(named) if set(named) <= set(_SPDX.values()) else "; ".join(named)
