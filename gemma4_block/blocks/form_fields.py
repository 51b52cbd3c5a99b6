"""The fields that all steps with a model share: what each may say, and what people read in the form."""

from typing import Annotated

from pydantic import Field, JsonValue, StrictBool, StrictFloat, StrictInt, WithJsonSchema

from gemma4_block.blocks import descriptions
from gemma4_block.blocks._host import (
    BooleanSelector,
    DictionarySelector,
    FloatSelector,
    IntegerSelector,
    ModelIdSelector,
    StringSelector,
    TextSelector,
)
from gemma4_block.blocks.fields import ImageSeqLengthChoice
from gemma4_block.catalogue import MODEL_IDS
from gemma4_block.contract import DEFAULT_MAX_NEW_TOKENS, Quantization

# A plain text to the validator, a list of choices to the form.
VariantId = Annotated[str, WithJsonSchema({"type": "string", "enum": list(MODEL_IDS)})]

OutputStructureField = Annotated[
    dict[str, JsonValue] | DictionarySelector | None,
    Field(
        description="The fields of the answer and what each should say. Whoever needs numbers, lists or "
        "fixed choices gives a JSON Schema instead. The answer always has this form.",
        examples=[
            {"color": "color of the car", "plate": "text of the license plate, or null"},
            {
                "type": "object",
                "properties": {"damage": {"enum": ["none", "light", "heavy"]}, "wheels": {"type": "integer"}},
                "required": ["damage", "wheels"],
            },
            "$inputs.output_structure",
        ],
        json_schema_extra={
            "relevant_for": descriptions.tasks_that_take("output_structure"),
            "always_visible": True,
        },
    ),
]

ModelVersion = Annotated[
    VariantId | ModelIdSelector | str,
    Field(
        description="Which Gemma 4 answers: larger ones see and know more, and need a larger GPU. A "
        "fine-tuned model is named by its id, such as my-project/3.",
        examples=["gemma-4-e4b-it", "my-project/3", "$inputs.model_version"],
        json_schema_extra={"values_metadata": descriptions.MODEL_VERSIONS, "always_visible": True},
    ),
]

SystemPrompt = Annotated[
    str | TextSelector | None,
    Field(
        description="How the model should behave in every answer: its role, tone, language or format. Leave "
        "empty for none.",
        examples=["You inspect parts on a production line. Be brief.", "$inputs.system_prompt"],
        json_schema_extra={"multiline": True},
    ),
]

ImageBudget = Annotated[
    ImageSeqLengthChoice | IntegerSelector | StringSelector,
    Field(
        description="How closely the model looks: the most tokens that an image may become. 70 and 140 are "
        "fast and do for captions and classes, 560 and 1120 are slower and show small print and small "
        "objects. auto suits the task, and takes less for an image so small that less shows all of it.",
        examples=["auto", 280, "$inputs.image_seq_length"],
    ),
]

MaxNewTokens = Annotated[
    StrictInt | IntegerSelector | None,
    Field(
        description="Most tokens of one answer, without thoughts; a token is about three quarters of a "
        "word, and a box takes about 30. An answer that reaches it is cut off, and finish_reason is length. "
        "Leave empty for the "
        f"machine's default, {DEFAULT_MAX_NEW_TOKENS} unless its operator says otherwise.",
        examples=[256, "$inputs.max_new_tokens"],
    ),
]

Temperature = Annotated[
    StrictFloat | FloatSelector | None,
    Field(
        description="How much chance plays a part. 0 gives the same, likeliest answer every time; 0.7 "
        "varies a little, 1.0 more. Leave empty for the machine's default, 0 unless its operator says "
        "otherwise.",
        examples=[0, 0.7, "$inputs.temperature"],
    ),
]

TopP = Annotated[
    StrictFloat | FloatSelector | None,
    Field(
        description="With a temperature above 0 only: choose among the likeliest words that together reach "
        "this share, above 0 and at most 1.",
        examples=[0.95, "$inputs.top_p"],
    ),
]

TopK = Annotated[
    StrictInt | IntegerSelector | None,
    Field(
        description="With a temperature above 0 only: choose among this many of the likeliest words.",
        examples=[64, "$inputs.top_k"],
    ),
]

Seed = Annotated[
    StrictInt | IntegerSelector | None,
    Field(
        description="With a temperature above 0 only: a whole number that makes the chance repeatable. The "
        "same seed gives the same answer.",
        examples=[42, "$inputs.seed"],
    ),
]

EnableThinking = Annotated[
    StrictBool | BooleanSelector | None,
    Field(
        description="Let the model think before it answers. Helps with counting and reasoning and takes "
        "longer; the thoughts are in the output thinking. Leave empty for the machine's default, off unless "
        "its operator says otherwise.",
        examples=[True, "$inputs.enable_thinking"],
    ),
]

MaxThinkingTokens = Annotated[
    StrictInt | IntegerSelector | None,
    Field(
        description="With enable_thinking only: most tokens of thoughts, counted apart from the answer. Then "
        "the model stops thinking and answers. Leave empty for the most that the machine allows.",
        examples=[256, "$inputs.max_thinking_tokens"],
    ),
]

Precision = Annotated[
    Quantization | StringSelector,
    Field(
        description="Precision of the model's weights. Less precision needs less GPU memory and may cost "
        "some quality.",
        examples=["auto", "$inputs.quantization"],
        json_schema_extra={"values_metadata": descriptions.QUANTIZATIONS},
    ),
]
