"""What an engine takes of its device's memory, part by part."""

from dataclasses import dataclass

_GB = 1e9


@dataclass(frozen=True, kw_only=True, slots=True)
class Footprint:
    """An estimate, in bytes.

    Attributes:
        weights: Those that stay in memory.
        left_in_files: Weights that stay in the pages of their files and are hardly ever read there; they
            count in nothing.
        read_pages: Pages of the files that loading goes through and does not keep; the system takes them
            back where memory is short.
        mapped: What of `weights` stays in pages of the files, which the system counts as free.
        kv_cache: Keys and values of all prompts that are answered at once.
        work: Of the tower and the language model while they read images and prompts.
        images: Images that are ready and wait for the tower.
        caches: What is kept of earlier images and prompts, at most.
        framework: What torch and the tokenizer set up.

    """

    weights: int
    left_in_files: int = 0
    read_pages: int = 0
    mapped: int = 0
    kv_cache: int = 0
    work: int = 0
    images: int = 0
    caches: int = 0
    framework: int = 0

    @property
    def needed(self) -> int:
        """What must be free for it; pages that the system can take back do not count."""
        return self.weights + self.kv_cache + self.work + self.images + self.caches + self.framework

    @property
    def loading_peak(self) -> int:
        """What counts as resident at the peak of loading."""
        return self.weights - self.mapped + self.read_pages + self.framework

    @property
    def peak(self) -> int:
        """What counts as resident at the peak of loading and answering."""
        return max(self.loading_peak, self.needed)

    def __str__(self) -> str:
        parts = {
            "weights": self.weights,
            "KV cache": self.kv_cache,
            "work": self.work,
            "images": self.images,
            "caches": self.caches,
            "torch and tokenizer": self.framework,
        }
        listed = ", ".join(f"{name} {format_gb(size)}" for name, size in parts.items())
        return f"{format_gb(self.needed)} GB: {listed}"


def format_gb(size: int) -> str:
    """Write bytes in units of 10**9.

    >>> format_gb(10_214_000_000)
    '10.21'
    """
    return f"{size / _GB:.2f}"
