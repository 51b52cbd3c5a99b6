"""What is kept of earlier prompts stays within bounds."""

import numpy as np
import torch

from gemma4_block.engine.byte_cache import ByteCache
from gemma4_block.engine.preprocess import FeatureCache
from gemma4_block.engine.preprocess.prepared import image_key


def test_the_cache_is_bounded_in_bytes_and_drops_what_was_not_asked_for() -> None:
    """The operator's number holds, whatever is kept."""
    cache: FeatureCache = ByteCache(max_bytes=3 * 400)
    keys = [image_key(np.full((2, 2, 3), value, np.uint8), 70, None) for value in range(5)]
    for key in keys[:3]:
        cache.keep(key, torch.zeros(10, 10))
    cache.keep(keys[0], torch.ones(10, 10))
    assert cache.find(keys[1]) is not None
    cache.keep(keys[3], torch.zeros(10, 10))
    cache.keep(keys[4], torch.zeros(100, 100))

    kept = [cache.find(key) is not None for key in keys]
    assert kept == [True, True, False, True, False]
    assert cache._bytes == 3 * 400
    first = cache.find(keys[0])
    assert first is not None
    assert first.sum() == 100
