"""Put what transformers has loaded behind the engine's types."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gemma4_block.engine.family import SamplingDefaults, SpecialTokens
from gemma4_block.engine.gemma4.blocked_tower import block_tower
from gemma4_block.engine.gemma4.clipped_linear import clip_by_numbers
from gemma4_block.engine.gemma4.consistency import refuse_mixed_files
from gemma4_block.engine.gemma4.detokenizer import Gemma4Detokenizer
from gemma4_block.engine.gemma4.divided_attention import divide_attention
from gemma4_block.engine.gemma4.few_row_linear import speed_up_few_rows
from gemma4_block.engine.gemma4.fused_norm import fuse_norms
from gemma4_block.engine.gemma4.gpu_experts import mix_on_gpu
from gemma4_block.engine.gemma4.grouped_attention import group_attention
from gemma4_block.engine.gemma4.image_processor import Gemma4ImageProcessor
from gemma4_block.engine.gemma4.model import Gemma4Model
from gemma4_block.engine.gemma4.packed_linear import pack_weights
from gemma4_block.engine.gemma4.special_tokens import read_special_tokens
from gemma4_block.engine.gemma4.template import Gemma4Template
from gemma4_block.engine.gemma4.template_proof import prove_template
from gemma4_block.engine.hardware import (
    attends_slowly,
    choose_least_rows,
    choose_packing,
    read_processor_features,
)

if TYPE_CHECKING:
    from transformers.tokenization_utils_tokenizers import TokenizersBackend


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenedGemma4:
    """The parts of a loaded checkpoint, as the engine knows them."""

    model: Gemma4Model
    template: Gemma4Template
    image_processor: Gemma4ImageProcessor
    detokenizer: Gemma4Detokenizer
    tokenizer: "TokenizersBackend"
    special_tokens: SpecialTokens
    sampling_defaults: SamplingDefaults
    context_tokens: int


def open_gemma4(
    directory: Path,
    module: Any,  # noqa: ANN401 - foreign objects
    processor: Any,  # noqa: ANN401
    *,
    is_trained: bool = False,
) -> OpenedGemma4:
    """Make a model faster without another result, and put it and its processor behind the engine's types.

    Args:
        directory: Of the checkpoint, for messages.
        module: The transformers model; its slow layers are replaced.
        processor: The transformers processor.
        is_trained: Whether gradients must pass through its layers.

    Returns:
        All that the engine needs of them.

    Raises:
        CheckpointError: Files do not belong together, or the chat template cannot be used.

    """
    refuse_mixed_files(directory, module.config, processor)
    template = Gemma4Template(processor)
    prove_template(template)
    clip_by_numbers(module)
    speed_up_few_rows(module)
    group_attention(module)
    if module.device.type == "cuda":
        fuse_norms(module)
        mix_on_gpu(module)
    elif not is_trained:
        features = read_processor_features() or {}
        pack_weights(module, choose_packing(features), least_rows=choose_least_rows(features))
        block_tower(module)
        if attends_slowly(features):
            divide_attention(module)
    module.eval()
    vision = module.config.vision_config
    special_tokens = read_special_tokens(module, processor.tokenizer)
    said = module.generation_config
    return OpenedGemma4(
        model=Gemma4Model(module),
        template=template,
        image_processor=Gemma4ImageProcessor(
            processor.image_processor,
            # The 12B makes a soft token of every patch.
            patches_per_token=1 if hasattr(vision, "model_patch_size") else vision.pooling_kernel_size**2,
        ),
        detokenizer=Gemma4Detokenizer(processor.tokenizer, special_tokens),
        tokenizer=processor.tokenizer,
        special_tokens=special_tokens,
        sampling_defaults=SamplingDefaults(
            temperature=said.temperature,
            top_k=said.top_k,
            top_p=said.top_p,
            repetition_penalty=said.repetition_penalty,
        ),
        context_tokens=module.config.get_text_config().max_position_embeddings,
    )
