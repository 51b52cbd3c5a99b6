"""Name the images of a request, by which a router of many servers keeps the questions about them together."""

import hashlib
from collections.abc import Sequence

HEADER = "X-Session-ID"
"""Source: vllm-router 0.1.17, whose policies `sticky_least_loaded` and `consistent_hash` read it first. Its
`cache_aware` compares texts, and looks at none where a request has images."""

# Enough to tell images apart, and short in a log.
_BYTES = 16


def name_images(urls: Sequence[str]) -> dict[str, str]:
    """Return the header that is the same for all requests about the same images in the same order.

    Args:
        urls: Data URLs of the images.

    Returns:
        Empty where there are none.

    Example:
        >>> name_images(["data:image/png;base64,AAAA"])
        {'X-Session-ID': '7108b1fd9607e66b6030924b42f13ead'}

    """
    if not urls:
        return {}
    digest = hashlib.blake2b(digest_size=_BYTES)
    for url in urls:
        # Of one length each, so that no other images run into the same bytes.
        digest.update(hashlib.blake2b(url.encode()).digest())
    return {HEADER: digest.hexdigest()}
