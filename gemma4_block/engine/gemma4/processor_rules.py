"""What the values of a processor's and a tokenizer's files must be, whatever a library would do."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from gemma4_block.contract import ImageSeqLength
from gemma4_block.engine.gemma4.config_rules import FileRules, Size, TokenId

Text = Annotated[str, Field(min_length=1)]
Channels = Annotated[list[Annotated[float, Field(ge=-10, le=10)]], Field(min_length=3, max_length=3)]

# A tokenizer keeps a table as long as its largest id, and writes a line for every id that is missing.
_MOST_IDS_FOR_A_TOKEN = 2


class _ImageProcessor(FileRules):
    image_processor_type: Text
    do_convert_rgb: bool = True
    do_normalize: bool = False
    # The towers were trained on values from 0 to 1, and on pictures scaled to the budget.
    do_rescale: Literal[True] = True
    do_resize: Literal[True] = True
    rescale_factor: Annotated[float, Field(ge=0.003, le=0.005)] = 1 / 255
    image_mean: Channels = Field(default_factory=lambda: [0.0] * 3)
    image_std: Channels = Field(default_factory=lambda: [1.0] * 3)
    resample: Annotated[int, Field(ge=0, le=5)] = 3
    max_soft_tokens: ImageSeqLength
    patch_size: Size
    pooling_kernel_size: Annotated[int, Field(ge=1, le=64)]


class _FeatureExtractor(FileRules):
    feature_extractor_type: Text
    # transformers makes tables of these sizes, up to all of the memory.
    feature_size: Annotated[int, Field(ge=1, le=4096)] = 128
    fft_length: Annotated[int, Field(ge=1, le=65_536)] = 512
    frame_length: Annotated[int, Field(ge=1, le=65_536)] = 320
    hop_length: Annotated[int, Field(ge=1, le=65_536)] = 160
    sampling_rate: Annotated[int, Field(ge=1000, le=384_000)] = 16_000


class _VideoProcessor(FileRules):
    video_processor_type: Text


class ProcessorConfigRules(FileRules):
    """Of processor_config.json. Sound and video are not used, and transformers wants their parts."""

    processor_class: Literal["Gemma4Processor", "Gemma4UnifiedProcessor"]
    image_processor: _ImageProcessor
    feature_extractor: _FeatureExtractor
    video_processor: _VideoProcessor


class _Token(FileRules):
    content: Text


class TokenizerConfigRules(FileRules):
    """Of tokenizer_config.json."""

    bos_token: Text | _Token
    eos_token: Text | _Token
    pad_token: Text | _Token | None = None
    unk_token: Text | _Token | None = None
    extra_special_tokens: list[Text | _Token] | dict[str, Text | _Token] | None = None
    image_token: Text | _Token
    boi_token: Text | _Token
    eoi_token: Text | _Token
    # Often 10**30, as an integer or not: pydantic takes no integer beyond 64 bits for a float.
    model_max_length: Annotated[int, Field(ge=1)] | Annotated[float, Field(ge=1)] | None = None
    tokenizer_class: Text | None = None
    chat_template: Text | None = None


class _AddedToken(FileRules):
    id: TokenId
    content: Text
    special: bool


class _Step(FileRules):
    type: Text


class _Model(_Step):
    vocab: Annotated[dict[str, TokenId], Field(min_length=1)]
    merges: list[object]


class TokenizerRules(FileRules):
    """Of tokenizer.json."""

    added_tokens: list[_AddedToken]
    normalizer: _Step | None = None
    pre_tokenizer: _Step | None = None
    post_processor: _Step | None = None
    decoder: _Step | None = None
    model: _Model

    @model_validator(mode="after")
    def _check_ids(self) -> "TokenizerRules":
        ids = self.model.vocab
        most = _MOST_IDS_FOR_A_TOKEN * (len(ids) + len(self.added_tokens))
        added = {token.content: token.id for token in self.added_tokens}
        for content, token_id in (*ids.items(), *added.items()):
            if token_id >= most:
                raise ValueError(
                    f"the id of {content!r} is {token_id}; with so few tokens it must be below {most}"
                )
        if len(set(ids.values())) < len(ids):
            raise ValueError("two entries of the vocab have the same id")
        for content, token_id in added.items():
            if ids.get(content, token_id) != token_id:
                raise ValueError(f"added_tokens and vocab differ in the id of {content!r}")
        return self
