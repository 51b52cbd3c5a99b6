"""Read the sizes of a Gemma 4 model from its checked config.json."""

from gemma4_block.contract import ImageSeqLength
from gemma4_block.engine.gemma4.config_rules import Gemma4ConfigRules, Gemma4UnifiedConfigRules
from gemma4_block.engine.shape import ModelShape, TowerShape, group_caches

_COLOURS = 3
# Of full layers where config.json says nothing. Source: configuration_gemma4.py of transformers 5.15.
_GLOBAL_HEAD_DIM = 512


def shape_of(
    config: Gemma4ConfigRules | Gemma4UnifiedConfigRules, image_seq_lengths: tuple[ImageSeqLength, ...]
) -> ModelShape:
    """Return the sizes of a model.

    Args:
        config: The checked values of its config.json.
        image_seq_lengths: Visual token budgets that it was trained for, smallest first.

    Returns:
        What its memory is estimated by.

    """
    text, vision = config.text_config, config.vision_config
    caching = len(text.layer_types) - text.num_kv_shared_layers
    # The layers above those share keys and values and read only the last token of a prompt, so that their
    # wider MLPs do not count.
    experts = (text.moe_intermediate_size or 0) if text.enable_moe_block else 0
    tower = None
    if isinstance(config, Gemma4ConfigRules):
        tower = TowerShape(
            hidden=config.vision_config.hidden_size, intermediate=config.vision_config.intermediate_size
        )
    # The 12B takes the patches of a soft token as one.
    side = vision.patch_size if tower is not None else vision.patch_size * vision.pooling_kernel_size
    return ModelShape(
        hidden=text.hidden_size,
        intermediate=text.intermediate_size + (text.top_k_experts or 0) * experts,
        # Gate, up and down.
        expert_weights=3 * (text.num_experts or 0) * experts * text.hidden_size,
        layer_inputs=text.hidden_size_per_layer_input * text.num_hidden_layers,
        vocabulary=text.vocab_size,
        caches=group_caches([_cached(config, place) for place in range(caching)]),
        patch=_COLOURS * side**2,
        patches_per_token=1 if tower is None else vision.pooling_kernel_size**2,
        tower=tower,
        first_layer_without_cache=caching,
        image_seq_lengths=image_seq_lengths,
    )


def _cached(config: Gemma4ConfigRules | Gemma4UnifiedConfigRules, place: int) -> tuple[int, int | None]:
    """Return what a layer keeps of a token, and its window."""
    text = config.text_config
    is_full = text.layer_types[place] == "full_attention"
    heads, head_dim = text.num_key_value_heads, text.head_dim
    if text.per_layer_config is not None:
        own = text.per_layer_config.get(str(place))
        head_dim = head_dim if own is None else own.head_dim
        heads = heads if own is None or own.num_key_value_heads is None else own.num_key_value_heads
    elif is_full:
        # Google's files have this older form.
        head_dim = _GLOBAL_HEAD_DIM if text.global_head_dim is None else text.global_head_dim
        if text.attention_k_eq_v and text.num_global_key_value_heads is not None:
            heads = text.num_global_key_value_heads
    return 2 * heads * head_dim, None if is_full else text.sliding_window
