"""Select evenly spread images from a long sequence, such as the frames of a video."""


def select_evenly(count: int, limit: int) -> tuple[int, ...]:
    """Return the places of at most `limit` out of `count` images, evenly spread, first and last among them.

    Place `i` of `k` is `round(i * (count - 1) / (k - 1))`. Nothing is drawn by chance: the same numbers give
    the same places.

    Args:
        count: How many images there are, 0 or more.
        limit: The most to take, 1 or more.

    Returns:
        Places from 0, ascending, none twice; all of them where they fit. Of a single one, the middle.

    >>> select_evenly(10, 4)
    (0, 3, 6, 9)
    >>> select_evenly(3, 8)
    (0, 1, 2)
    >>> select_evenly(9, 1)
    (4,)

    """
    if count <= limit:
        return tuple(range(count))
    if limit == 1:
        return ((count - 1) // 2,)
    return tuple(round(place * (count - 1) / (limit - 1)) for place in range(limit))
