"""Find the endpoint for metrics of the host that runs this plugin."""

from functools import lru_cache
from threading import Lock

from gemma4_block.engine.pool import get_engine_pool

_PUBLISHING = Lock()


def publish_to_host() -> None:
    """Have the host's `/metrics` say what there is to know of models; a second call changes nothing."""
    with _PUBLISHING:
        _publish()


# lru_cache alone would let two threads that come first both publish, which the client refuses.
@lru_cache(maxsize=1)
def _publish() -> None:
    # Nothing imports the client where there is no endpoint.
    from prometheus_client import REGISTRY

    from gemma4_block.hosting.metrics import publish_metrics

    publish_metrics(get_engine_pool(), REGISTRY)
