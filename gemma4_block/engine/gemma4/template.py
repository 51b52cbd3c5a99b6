"""Render a prompt with the checkpoint's own template, and let no text of a user act as a control token.

The template is rendered with stand-ins for the texts. The template's own text is tokenised with control
tokens; the users' texts replace the stand-ins tokenised as plain text, so `<|image|>` or `<turn|>` in a
question has no effect.
"""

import copy
import re
from collections.abc import Sequence
from typing import Any

from gemma4_block.contract import Prompt
from gemma4_block.engine.family import Conversation
from gemma4_block.errors import CheckpointError

_STAND_INS = {"system": "\ue000system\ue001", "user": "\ue000user\ue001"}
_STAND_IN = re.compile("\ue000(system|user)\ue001")


class Gemma4Template:
    """The chat template of one checkpoint.

    Args:
        processor: The transformers processor: tokenizer, template and the names of image tokens.

    """

    def __init__(self, processor: Any) -> None:  # noqa: ANN401 - no shared type
        self._processor = processor
        self._tokenizer = processor.tokenizer
        # Whether control tokens are read as text is a switch of the tokenizer itself. A copy that always has
        # it on lets threads render at once: neither of the two is ever switched.
        self._text_tokenizer = copy.deepcopy(processor.tokenizer)

    def encode_text(self, text: str) -> tuple[int, ...]:
        """Return the ids of a text in which nothing is a control token."""
        return tuple(self._text_tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True))

    def render(
        self, prompt: Prompt, soft_token_counts: Sequence[int], *, enable_thinking: bool
    ) -> Conversation:
        """Return the token ids of a prompt, ready for the model's turn.

        Args:
            prompt: The question.
            soft_token_counts: Soft tokens of each of its images.
            enable_thinking: Ask the template for the thinking form.

        Returns:
            The ids; equal to those of the processor's own `apply_chat_template` for plain texts.

        Raises:
            CheckpointError: The template is missing or damaged, or does not show every text and image
                exactly once.

        """
        rendered = self._render_template(prompt, enable_thinking=enable_thinking)
        texts = {"user": prompt.text.strip(), "system": (prompt.system or "").strip()}
        counts = iter(soft_token_counts)
        ids: list[int] = []
        used: list[str] = []
        for index, piece in enumerate(_STAND_IN.split(rendered)):
            # The split alternates between text of the template and the names of the stand-ins.
            if index % 2:
                used.append(piece)
                ids += self.encode_text(texts[piece])
            else:
                ids += self._tokenizer.encode(self._expand_images(piece, counts), add_special_tokens=False)
        expected = ["system", "user"] if texts["system"] else ["user"]
        image_tokens = ids.count(self._processor.image_token_id)
        if used != expected or image_tokens != sum(soft_token_counts):
            raise CheckpointError(
                f"The checkpoint's chat template shows the texts {used} and {image_tokens} image tokens "
                f"where {expected} and {sum(soft_token_counts)} were given. Use the "
                "chat_template.jinja, and the post_processor of tokenizer.json, that came with the weights."
            )
        return Conversation(input_ids=tuple(ids), image_tokens=image_tokens)

    def _render_template(self, prompt: Prompt, *, enable_thinking: bool) -> str:
        messages: list[dict[str, object]] = []
        if (prompt.system or "").strip():
            messages.append({"role": "system", "content": [{"type": "text", "text": _STAND_INS["system"]}]})
        content: list[dict[str, str]] = [{"type": "image"} for _ in prompt.images]
        content.append({"type": "text", "text": _STAND_INS["user"]})
        messages.append({"role": "user", "content": content})
        try:
            rendered: str = self._processor.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True, enable_thinking=enable_thinking
            )
        except Exception as error:
            # A template is a program: it may divide by zero, call itself, or ask for what is not there.
            words = str(error).strip() or type(error).__name__
            raise CheckpointError(
                f"The checkpoint's chat template is missing or cannot be used: {words}. Use the "
                "chat_template.jinja that came with the weights."
            ) from error
        return rendered

    def _expand_images(self, text: str, counts: Any) -> str:  # noqa: ANN401 - an iterator of int
        begin, image, end = self._processor.boi_token, self._processor.image_token, self._processor.eoi_token
        head, *tails = text.split(image)
        return head + "".join(f"{begin}{image * next(counts, 0)}{end}{tail}" for tail in tails)
