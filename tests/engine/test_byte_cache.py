"""What a cache keeps that is bounded in bytes."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from gemma4_block.engine.byte_cache import ByteCache


@dataclass(frozen=True)
class Value:
    """Something of a size."""

    nbytes: int


def kept(cache: ByteCache[str, Value], keys: str) -> str:
    """Return those of the keys, a letter each, that have a value."""
    return "".join(key for key in keys if cache.find(key) is not None)


def test_what_was_not_asked_for_the_longest_time_goes_first() -> None:
    """To be found counts as to be asked for, and so does to be kept again."""
    cache: ByteCache[str, Value] = ByteCache(max_bytes=30)
    for key in "abc":
        cache.keep(key, Value(10))
    cache.find("a")
    cache.keep("b", Value(10))
    cache.keep("d", Value(20))
    assert kept(cache, "abcd") == "bd"


def test_a_larger_value_needs_no_room_beside_the_one_that_it_replaces() -> None:
    """Of three tens in thirty, one that grows to twenty costs one other."""
    cache: ByteCache[str, Value] = ByteCache(max_bytes=30)
    for key in "abc":
        cache.keep(key, Value(10))
    cache.keep("c", Value(20))
    assert kept(cache, "abc") == "bc"
    assert cache.find("c") == Value(20)


def test_a_smaller_value_gives_room_back() -> None:
    """What is counted is what is kept now."""
    cache: ByteCache[str, Value] = ByteCache(max_bytes=30)
    cache.keep("a", Value(30))
    cache.keep("a", Value(10))
    assert cache.nbytes == 10
    cache.keep("b", Value(20))
    assert kept(cache, "ab") == "ab"


def test_what_is_too_large_is_not_kept_and_costs_nothing() -> None:
    """The one of that key stays too; `holds` says so before."""
    cache: ByteCache[str, Value] = ByteCache(max_bytes=30)
    cache.keep("a", Value(10))
    cache.keep("a", Value(31))
    cache.keep("b", Value(31))
    assert (cache.holds(30), cache.holds(31)) == (True, False)
    assert cache.find("a") == Value(10)
    assert kept(cache, "ab") == "a"


def test_nothing_is_kept_in_no_bytes() -> None:
    """That is how the operator turns a cache off."""
    cache: ByteCache[str, Value] = ByteCache(max_bytes=0)
    cache.keep("a", Value(1))
    assert not cache.holds(1)
    assert kept(cache, "a") == ""


def test_clearing_says_whether_there_was_anything() -> None:
    """Afterwards all room is free again."""
    cache: ByteCache[str, Value] = ByteCache(max_bytes=30)
    assert cache.clear() is False
    cache.keep("a", Value(30))
    assert cache.clear() is True
    assert cache.clear() is False
    cache.keep("b", Value(30))
    assert kept(cache, "ab") == "b"


def test_many_threads_may_use_it() -> None:
    """None fails, and the bound holds at the end."""
    cache: ByteCache[int, Value] = ByteCache(max_bytes=30)

    def use(start: int) -> None:
        for step in range(2000):
            key = (start + step) % 7
            if cache.find(key) is None:
                cache.keep(key, Value(10))
            if step % 500 == start:
                cache.clear()

    with ThreadPoolExecutor(max_workers=4) as threads:
        list(threads.map(use, range(4)))
    assert sum(10 for key in range(7) if cache.find(key) is not None) <= 30
