"""Build an untrained demo checkpoint: Gemma 4's architecture, tokens and files at a small size."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import (
    Gemma4AudioFeatureExtractor,
    Gemma4Config,
    Gemma4ForConditionalGeneration,
    Gemma4ImageProcessor,
    Gemma4Processor,
    Gemma4TextConfig,
    Gemma4VideoProcessor,
    Gemma4VisionConfig,
    GemmaTokenizer,
    GenerationConfig,
)

from gemma4_block.demo import phrases
from gemma4_block.demo.training.asking import FOREIGN, LABELS, SENTENCE_SYSTEM_PROMPTS, Language, ask
from gemma4_block.demo.training.drawing import Limits, draw_picture

IMAGE_SEQ_LENGTHS = (70, 140, 280)
"""Budgets that the checkpoint is trained for."""
PATCH_SIZE_PX = 16
POOLING_KERNEL_SIZE = 2
VOCAB_SIZE = 1536
SLIDING_WINDOW = 512
"""How far back sliding layers look, in tokens, the own one included; as E2B's."""

# The low ids are those of Google's tokenizer, so that code for one works for the other.
# Source: tokenizer_config.json of https://huggingface.co/google/gemma-4-E2B-it. The image, audio and video
# ids, which are above 255,000 there, follow the newline here.
_TOKEN_IDS = {
    "<pad>": 0,
    "<eos>": 1,
    "<bos>": 2,
    "<unk>": 3,
    "<mask>": 4,
    "<|tool>": 46,
    "<tool|>": 47,
    "<|tool_call>": 48,
    "<tool_call|>": 49,
    "<|tool_response>": 50,
    "<tool_response|>": 51,
    '<|"|>': 52,
    "<|think|>": 98,
    "<|channel>": 100,
    "<channel|>": 101,
    "<|turn>": 105,
    "<turn|>": 106,
    "\n": 107,
    "<|image>": 108,
    "<|image|>": 109,
    "<image|>": 110,
    "<|audio>": 111,
    "<|audio|>": 112,
    "<audio|>": 113,
    "<|video|>": 114,
}
_NAMED_TOKENS = {
    "image_token": "<|image|>",
    "boi_token": "<|image>",
    "eoi_token": "<image|>",
    "audio_token": "<|audio|>",
    "boa_token": "<|audio>",
    "eoa_token": "<audio|>",
    "sot_token": "<|turn>",
    "eot_token": "<turn|>",
    "soc_token": "<|channel>",
    "eoc_token": "<channel|>",
    "think_token": "<|think|>",
    "str_token": "<|tool_response>",
    "etr_token": "<tool_response|>",
    "stc_token": "<|tool_call>",
    "etc_token": "<tool_call|>",
    "std_token": "<|tool>",
    "etd_token": "<tool|>",
    "escape_token": '<|"|>',
}
# As in E2B: full after sliding ones, a full one last of those that own keys and values, and the shared ones
# after it. llama.cpp takes the last two of the owners for a sliding and a full one.
_LAYER_TYPES = ["sliding_attention", "sliding_attention", "full_attention"] * 3
_SHARED_LAYERS = 3
# Merges stay within these pieces: the fixed parts of JSON answers and schemas, words, capitals, digits.
# Capitals stand alone, because words in pictures are read letter by letter.
_PIECES = Regex(
    r'\[\{"box_2d":▁\[|\{"box_2d":▁\[|\],▁"label":▁"|"\},▁|"\}\]|\{"class_name":▁"'
    r'|\{"type":▁"object",▁"properties":▁\{"|":▁\{"type":▁"|":▁\{"enum":▁\["|"\],▁"description":▁"'
    r'|",▁"description":▁"|\},▁"required":▁\["|"\],▁"additionalProperties":▁false\}|",▁"enum":▁\["'
    r'|,▁"minimum":▁0|"\},▁"|"\]\},▁"|",▁"|";▁"|":▁"|,▁"|":▁|,▁'
    r"|▁?\p{Lu}|▁?\p{Ll}+|▁?\p{L}+|\p{N}|\n|▁?[^\p{L}\p{N}\n▁]+|▁"
)


def build_config() -> Gemma4Config:
    """Return the demo's config: per-layer embeddings, KV-shared, sliding and full layers, clipped tower."""
    text = Gemma4TextConfig.from_dict(
        {
            "vocab_size": VOCAB_SIZE,
            "vocab_size_per_layer_input": VOCAB_SIZE,
            "hidden_size": 192,
            "intermediate_size": 384,
            "num_hidden_layers": len(_LAYER_TYPES),
            "layer_types": _LAYER_TYPES,
            "num_kv_shared_layers": _SHARED_LAYERS,
            "use_double_wide_mlp": False,
            "num_attention_heads": 4,
            "num_key_value_heads": 1,
            "head_dim": 32,
            "global_head_dim": 64,
            "hidden_size_per_layer_input": 16,
            "sliding_window": SLIDING_WINDOW,
            "max_position_embeddings": 8192,
            "final_logit_softcapping": 30.0,
            "use_bidirectional_attention": None,
            "tie_word_embeddings": True,
            "pad_token_id": 0,
            "eos_token_id": 1,
            "bos_token_id": 2,
        }
    )
    vision = Gemma4VisionConfig.from_dict(
        {
            "hidden_size": 192,
            "intermediate_size": 384,
            "num_hidden_layers": 6,
            "num_attention_heads": 6,
            "num_key_value_heads": 6,
            "head_dim": 32,
            "patch_size": PATCH_SIZE_PX,
            "pooling_kernel_size": POOLING_KERNEL_SIZE,
            # The longest side that the largest budget allows, in patches.
            "position_embedding_size": IMAGE_SEQ_LENGTHS[-1] * POOLING_KERNEL_SIZE,
            "default_output_length": IMAGE_SEQ_LENGTHS[0],
            "use_clipped_linears": True,
            "standardize": False,
        }
    )
    return Gemma4Config.from_dict(
        {
            "text_config": text,
            "vision_config": vision,
            "audio_config": None,
            "image_token_id": _TOKEN_IDS["<|image|>"],
            "boi_token_id": _TOKEN_IDS["<|image>"],
            "eoi_token_id": _TOKEN_IDS["<image|>"],
            "audio_token_id": _TOKEN_IDS["<|audio|>"],
            "boa_token_id": _TOKEN_IDS["<|audio>"],
            "eoa_token_id": _TOKEN_IDS["<audio|>"],
            "video_token_id": _TOKEN_IDS["<|video|>"],
            "vision_soft_tokens_per_image": IMAGE_SEQ_LENGTHS[0],
            "eos_token_id": [1, 106],
            "tie_word_embeddings": True,
            # Read by the engine: `auto` budgets stay at what the weights have seen.
            "trained_image_seq_lengths": list(IMAGE_SEQ_LENGTHS),
        }
    )


def build_tokenizer(seed: int = 0) -> GemmaTokenizer:
    """Train the byte-fallback BPE on the questions and answers of drawn scenes.

    Digits are single tokens, as in Google's tokenizer.
    """
    vocab = _reserved_vocab()
    trainer = trainers.BpeTrainer(vocab_size=VOCAB_SIZE - len(vocab), min_frequency=2, show_progress=False)
    learner = Tokenizer(models.BPE())
    learner.normalizer = normalizers.Replace(" ", "▁")
    learner.pre_tokenizer = pre_tokenizers.Split(_PIECES, behavior="isolated")
    learner.train_from_iterator(_corpus(seed), trainer)
    learned = learner.get_vocab()
    for piece in sorted(learned, key=learned.__getitem__):
        if piece not in vocab:
            vocab[piece] = len(vocab)
    vocab |= {f"<unused{token_id}>": token_id for token_id in range(len(vocab), VOCAB_SIZE)}
    # The signature says texts, but the tokenizer's own model takes pairs.
    merges: Any = [tuple(merge) for merge in _merges(learner)]
    tokenizer = GemmaTokenizer(vocab=vocab, merges=merges, add_bos_token=False, **_NAMED_TOKENS)
    tokenizer.chat_template = (Path(__file__).parents[1] / "chat_template.jinja").read_text(encoding="utf-8")
    return tokenizer


def build_processor(tokenizer: GemmaTokenizer) -> Gemma4Processor:
    """Join the tokenizer with image settings of the demo's patch size and budget."""
    size = {"patch_size": PATCH_SIZE_PX, "pooling_kernel_size": POOLING_KERNEL_SIZE}
    return Gemma4Processor(
        feature_extractor=Gemma4AudioFeatureExtractor(),
        image_processor=Gemma4ImageProcessor(max_soft_tokens=IMAGE_SEQ_LENGTHS[0], **size),
        tokenizer=tokenizer,
        video_processor=Gemma4VideoProcessor(max_soft_tokens=IMAGE_SEQ_LENGTHS[0], **size),
        chat_template=tokenizer.chat_template,
        image_seq_length=IMAGE_SEQ_LENGTHS[0],
    )


def build_model(seed: int = 0) -> Gemma4ForConditionalGeneration:
    """Return the untrained model in float32, with starting values that a model of this size learns from."""
    torch.manual_seed(seed)
    model = Gemma4ForConditionalGeneration(build_config())
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("q_norm.weight", "k_norm.weight")):
                # Gemma 4 does not divide attention scores by the root of the head size; this starts it so.
                parameter.fill_(parameter.shape[0] ** -0.25)
            elif name.endswith("position_embedding_table"):
                parameter.copy_(_sinusoids(parameter.shape[1], parameter.shape[2]).expand_as(parameter) * 0.3)
    model.generation_config = GenerationConfig(
        bos_token_id=2,
        pad_token_id=0,
        eos_token_id=[1, 106, 50],
        do_sample=True,
        temperature=1.0,
        top_k=64,
        top_p=0.95,
    )
    return model


def _reserved_vocab() -> dict[str, int]:
    by_id = {token_id: token for token, token_id in _TOKEN_IDS.items()}
    vocab = {by_id.get(token_id, f"<unused{token_id}>"): token_id for token_id in range(max(by_id) + 1)}
    for byte in range(256):
        vocab[f"<0x{byte:02X}>"] = len(vocab)
    return vocab


def _corpus(seed: int) -> Iterator[str]:
    rng = np.random.default_rng(seed)
    yield from ("".join(map(chr, range(33, 127))), "user\n", "model\n", "system\n", "thought\n") * 50
    for _ in range(4000):
        # Small pictures are drawn faster, and nobody looks at them.
        picture = draw_picture(rng, Limits(unit_px=80))
        language: Language = "french" if rng.random() < 0.25 else "english"
        for turn in ask(rng, [picture], language, as_sentence=rng.random() < 0.1):
            # What is written in pictures is read letter by letter, so it teaches no longer pieces.
            yield from (turn.question,) if turn.kind == "read" else (turn.question, turn.answer, turn.thought)
    for prompt in (*phrases.FRENCH_SYSTEM_PROMPTS, *phrases.PLAIN_SYSTEM_PROMPTS, *SENTENCE_SYSTEM_PROMPTS):
        yield from [prompt] * 50
    for name in (*LABELS, *FOREIGN):
        yield from [name] * 20


def _merges(learner: Tokenizer) -> Iterable[list[str]]:
    merges: list[list[str]] = json.loads(learner.to_str())["model"]["merges"]
    return merges


def _sinusoids(length: int, width: int) -> torch.Tensor:
    """Sines and cosines of positions, `(length, width)`, wavelengths 2 to 200 positions."""
    position = torch.arange(length)[:, None]
    wavelength = torch.logspace(np.log10(2), np.log10(200), width // 2)[None, :]
    angle = 2 * torch.pi * position / wavelength
    return torch.cat([angle.sin(), angle.cos()], dim=1)
