"""What ours must reach beside the peers, on each kind of processor."""

from collections.abc import Mapping

from tests.benchmarks.processors import ProcessorKind

Targets = Mapping[tuple[str, int], float]
"""Row and visual token budget to the least that the time of a peer must be over ours."""

_WITHOUT_BFLOAT16: Targets = {
    ("W1", 70): 1.3,
    ("W1", 280): 2.0,
    ("W2", 70): 2.0,
    ("W2", 280): 2.2,
    ("W3", 70): 3.5,
    ("W3", 280): 7.0,
    ("W8", 70): 2.3,
    ("W8", 280): 12.0,
}
"""Source: sums of stages that were timed one by one, in float32 on an EPYC without AVX-512."""

_WITH_BFLOAT16: Targets = {
    ("W1", 70): 1.5,
    ("W1", 280): 2.8,
    ("W2", 70): 2.6,
    ("W2", 280): 3.0,
    ("W3", 70): 5.0,
    ("W3", 280): 10.0,
    ("W8", 70): 2.8,
    ("W8", 280): 13.0,
}
"""Source: what was measured on an EPYC with avx512_bf16, and what its floors leave to gain."""

PEER_OVER_OURS: Mapping[ProcessorKind, Targets] = {
    "amx": _WITH_BFLOAT16,
    "avx512_bf16": _WITH_BFLOAT16,
    "avx512": _WITHOUT_BFLOAT16,
    "avx2": _WITHOUT_BFLOAT16,
    "other": _WITHOUT_BFLOAT16,
}

VLLM_OVER_OURS: Mapping[ProcessorKind, float] = {
    "amx": 1.5,
    "avx512_bf16": 1.5,
    "avx512": 1.0,
    "avx2": 1.0,
    "other": 1.0,
}
"""In W1, W2 and W3, at every budget."""
