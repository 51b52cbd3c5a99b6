"""Hold an answer to a JSON Schema: which tokens it allows next, for one checkpoint's tokenizer."""

from collections.abc import Sequence
from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from gemma4_block.engine.family import SpecialTokens
from gemma4_block.errors import ConfigurationError, PromptError
from gemma4_block.json_schema import compile_schema, grammar_limits

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer
    from transformers.tokenization_utils_tokenizers import TokenizersBackend

_CACHED_GRAMMARS = 64


class Grammars:
    """Compiles schemas for one tokenizer and keeps the last of them. May be used from many threads.

    Args:
        tokenizer: The checkpoint's.
        special_tokens: Its steering ids.

    """

    def __init__(self, tokenizer: "TokenizersBackend", special_tokens: SpecialTokens) -> None:
        self._tokenizer = tokenizer
        self._special_tokens = special_tokens
        self._lock = Lock()
        self._tokens: LLTokenizer | None = None
        self._compile = lru_cache(maxsize=_CACHED_GRAMMARS)(self._compile_anew)

    def start(self, schema: str) -> "Grammar":
        """Return the state of an answer that has not begun.

        Args:
            schema: A JSON Schema as text.

        Returns:
            A state for one answer only.

        Raises:
            PromptError: The schema cannot be used.

        """
        try:
            compiled = self._compile(schema)
        except ConfigurationError as error:
            raise PromptError(str(error)) from error
        return Grammar(compiled.deep_copy(), self._special_tokens)

    def token_bytes(self, ids: Sequence[int]) -> list[bytes]:
        """Return the UTF-8 text of each token, which may end inside a character."""
        tokens = self._shared_tokens()
        return [tokens.decode_bytes([token_id]) for token_id in ids]

    def _compile_anew(self, schema: str) -> "LLMatcher":
        from llguidance import LLMatcher

        grammar = compile_schema(schema)
        return LLMatcher(self._shared_tokens(), grammar, log_level=0, limits=grammar_limits())

    def _shared_tokens(self) -> "LLTokenizer":
        # Built when it is first needed: with Gemma 4's vocabulary that takes seconds and 0.3 GB.
        with self._lock:
            if self._tokens is None:
                from llguidance.hf import from_tokenizer

                self._tokens = from_tokenizer(self._tokenizer, eos_token=self._special_tokens.end_of_turn)
            return self._tokens


class Grammar:
    """The state of one answer in its grammar."""

    def __init__(self, matcher: "LLMatcher", special_tokens: SpecialTokens) -> None:
        self._matcher = matcher
        self._end_of_turn = special_tokens.end_of_turn
        self._control_ids = np.array(sorted(special_tokens.control_ids), dtype=np.int64)
        self._mask: npt.NDArray[np.bool_] | None = None

    def forced(self, size: int) -> int | None:
        """Say what must come next.

        Args:
            size: Entries of the model's vocabulary.

        Returns:
            The one id that is allowed; None where there are several.

        Raises:
            PromptError: As in `allowed`.

        """
        mask = self._find_mask(size)
        return int(mask.argmax()) if np.count_nonzero(mask) == 1 else None

    def allowed(self, size: int, device: torch.device) -> torch.Tensor:
        """Return which ids may come next, `(size,)` bool; the end of the turn where the answer may end.

        Args:
            size: Entries of the model's vocabulary, which may be more than the tokenizer's.
            device: Where the mask goes.

        Returns:
            At least one is true.

        Raises:
            PromptError: The grammar became too complex to go on, or wants a control token.

        """
        # A copy, because the caller may allow more.
        return torch.from_numpy(self._find_mask(size).copy()).to(device)

    def advance(self, token_id: int) -> None:
        """Take a token that was allowed.

        Args:
            token_id: Its id.

        Raises:
            PromptError: It was not, or the grammar became too complex.

        """
        self._mask = None
        if not self._matcher.consume_token(token_id):
            raise PromptError(
                f"The JSON Schema does not allow token {token_id}: {self._matcher.get_error()}."
            )

    def _find_mask(self, size: int) -> npt.NDArray[np.bool_]:
        if self._mask is not None:
            return self._mask
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        if self._matcher.is_error():
            raise PromptError(
                "The JSON Schema became too complex in the middle of this answer: "
                f"{self._matcher.get_error()}. Simplify its patterns and alternatives."
            )
        mask = np.zeros(size, dtype=np.bool_)
        unpacked = np.unpackbits(bits, count=min(size, 8 * len(bits)), bitorder="little")
        mask[: len(unpacked)] = unpacked
        mask[self._control_ids[self._control_ids < size]] = False
        # To the library a control token's name is also a text, so it may allow the token inside a string.
        mask[self._end_of_turn] = self._matcher.is_accepting()
        if not mask.any():
            # The library writes the name of a control token, in an enum say, by that token alone.
            raise PromptError(
                "The JSON Schema asks for a text that is a control token of the model, such as <turn|>. Name "
                "it otherwise."
            )
        self._mask = mask
        return mask
