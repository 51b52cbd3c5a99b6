"""The Gemma 4 models that can be named by id: what they are, what they need and where they come from."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """One model that a workflow can name.

    Attributes:
        model_id: Its name in workflows and commands.
        hub_id: Its repository on the Hugging Face Hub; None for the embedded model.
        directory: Where its files are; None where they must be fetched first.
        title: Its name for people.
        description: One or two sentences for people who choose.
        parameters: Exact number of parameters of the module tree that transformers builds.
        nf4_gb: Weights in 10**9 bytes with 4-bit linear layers and whole towers; None where 4 bits are
            refused.
        why_whole: Why 4 bits are refused; empty where they are not.
        caution: What users should know before they trust its answers, and what to take instead, in one
            sentence; empty where there is nothing to say.
        context_tokens: Most tokens of prompt and answer together.
        license: The terms of the weights, and where they are written.

    """

    model_id: str
    hub_id: str | None
    directory: Path | None = None
    title: str
    description: str
    parameters: int
    nf4_gb: float | None
    why_whole: str = ""
    caution: str = ""
    context_tokens: int
    license: str

    @property
    def weights_gb(self) -> float:
        """Weights in bfloat16, in 10**9 bytes; working memory comes on top."""
        return self.parameters * 2 / 1e9

    @property
    def fetch_command(self) -> str | None:
        """The command that puts the weights where they are found; None for the embedded model."""
        return None if self.hub_id is None else f"gemma4-block pull {self.model_id}"


def _license(hub_id: str) -> str:
    return f"Apache-2.0; the terms are on the model card, https://huggingface.co/{hub_id}"


_DEMO = Path(__file__).parent / "demo"

# Parameters and 4-bit sizes. Source: the models built on the meta device with transformers 5.15.1;
# tests/engine/test_architectures.py counts again. Context, licence, hub ids and "effective" sizes.
# Source: the model cards, at https://huggingface.co/ and the hub id.
VARIANTS: tuple[Variant, ...] = (
    Variant(
        model_id="gemma-4-e2b-it",
        hub_id="google/gemma-4-E2B-it",
        title="Gemma 4 E2B",
        description="The smallest: 2.3 billion effective parameters. Runs on a 12 GB GPU, slowly on a CPU.",
        parameters=5_104_297_504,
        nf4_gb=7.51,
        context_tokens=131_072,
        license=_license("google/gemma-4-E2B-it"),
    ),
    Variant(
        model_id="gemma-4-e4b-it",
        hub_id="google/gemma-4-E4B-it",
        title="Gemma 4 E4B",
        description="4.5 billion effective parameters. Runs on a 24 GB GPU, or in 4 bits on 16 GB.",
        parameters=7_941_100_832,
        nf4_gb=10.17,
        context_tokens=131_072,
        license=_license("google/gemma-4-E4B-it"),
    ),
    Variant(
        model_id="gemma-4-12b-it",
        hub_id="google/gemma-4-12B-it",
        title="Gemma 4 12B",
        description="Reads pixels without a vision tower. Runs on a 48 GB GPU, or in 4 bits on 16 GB.",
        parameters=11_959_730_176,
        nf4_gb=8.25,
        context_tokens=262_144,
        license=_license("google/gemma-4-12B-it"),
    ),
    Variant(
        model_id="gemma-4-26b-a4b-it",
        hub_id="google/gemma-4-26B-A4B-it",
        title="Gemma 4 26B A4B",
        description="A mixture of experts: 26 billion parameters of which 3.8 billion work on each token. "
        "Runs on an 80 GB GPU; 4 bits are refused, because bitsandbytes leaves the experts as they are.",
        parameters=25_805_933_872,
        nf4_gb=None,
        why_whole="bitsandbytes leaves its experts, nine tenths of the weights, in bfloat16, so that 4 bits "
        "save almost nothing",
        context_tokens=262_144,
        license=_license("google/gemma-4-26B-A4B-it"),
    ),
    Variant(
        model_id="gemma-4-31b-it",
        hub_id="google/gemma-4-31B-it",
        title="Gemma 4 31B",
        description="The largest. Runs on an 80 GB GPU, or in 4 bits on 24 GB with short prompts.",
        parameters=31_273_086_512,
        nf4_gb=20.45,
        context_tokens=262_144,
        license=_license("google/gemma-4-31B-it"),
    ),
    Variant(
        model_id="gemma-4-demo",
        hub_id=None,
        directory=_DEMO / "checkpoint",
        title="Gemma 4 demo (embedded)",
        description="A very small model of Gemma 4's architecture, trained on drawings of coloured shapes, "
        "everyday things and words. It comes with this package, shows that everything works, and is of no "
        "use on photographs.",
        parameters=5_903_504,
        nf4_gb=None,
        caution="gemma-4-demo knows drawn things only, and what it says about photographs is made up: take "
        "gemma-4-e2b-it or a larger one for those (gemma4-block pull gemma-4-e2b-it).",
        why_whole="it takes 12 MB as it is, and what it can do was measured with whole weights only",
        context_tokens=8_192,
        license="Apache-2.0; the terms are in this package's LICENSE",
    ),
)
"""Every model with an id, smallest first, the embedded one last."""

MODEL_IDS: tuple[str, ...] = tuple(variant.model_id for variant in VARIANTS)

EMBEDDED_ADAPTERS: Mapping[str, Path] = MappingProxyType(
    {f"gemma-4-demo-{name}": _DEMO / "adapters" / name for name in ("codes", "dutch")}
)
"""Adapters of the embedded model that come with this package, by id: where their files are."""

MODEL_TYPES: tuple[str, ...] = ("gemma4", "gemma4_unified")
"""What config.json says of a Gemma 4 model. Source: the five variants' files."""

_BY_ID = {variant.model_id: variant for variant in VARIANTS}
_BY_HUB_ID = {variant.hub_id: variant for variant in VARIANTS if variant.hub_id is not None}


def find_variant(model_id: str) -> Variant | None:
    """Return the variant that has this id, or None where it is the id of no variant.

    >>> find_variant("gemma-4-e2b-it").hub_id
    'google/gemma-4-E2B-it'
    >>> find_variant("my-project/3") is None
    True
    """
    return _BY_ID.get(model_id)


def find_named_variant(name: str) -> Variant | None:
    """Return the variant that has this id, or whose repository on the hub is called so; None for others.

    >>> find_named_variant("google/gemma-4-E2B-it").model_id
    'gemma-4-e2b-it'
    """
    return _BY_ID.get(name) or _BY_HUB_ID.get(name)


def find_embedded(name: str) -> Path | None:
    """Return where the files are of a model or an adapter that comes with this package; None for others.

    >>> find_embedded("gemma-4-demo-dutch").name
    'dutch'
    >>> find_embedded("gemma-4-e2b-it") is None
    True
    """
    variant = find_variant(name)
    return EMBEDDED_ADAPTERS.get(name) if variant is None else variant.directory
