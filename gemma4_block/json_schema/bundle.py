"""Bring a JSON Schema of any draft into one form: today's keywords, and references to definitions of it."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from gemma4_block.errors import ConfigurationError
from gemma4_block.json_schema.keywords import BINDING, Schema, inner_schemas, map_schemas
from gemma4_block.json_schema.references import References
from gemma4_block.json_value import JsonValue

# Beyond any schema that people write, and far below what ends a recursion of Python or of the library.
_MAX_LEVELS: Final = 60
_REFERENCES: Final = ("$ref", "$dynamicRef", "$recursiveRef")
# In these a reference stands alone, whatever is beside it.
# Source: https://json-schema.org/draft-07/json-schema-core, section 8.3.
_LONE_REFERENCES: Final = ("draft-03/", "draft-04/", "draft-06/", "draft-07/")

_EVALUATING: Final = (
    *(*_REFERENCES, "additionalProperties", "allOf", "anyOf", "dependencies", "dependentSchemas", "else"),
    *("if", "oneOf", "then"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Bundle:
    """A JSON Schema in one form.

    Attributes:
        root: What the answer must match. References are `{"$ref": "#/$defs/NAME"}`, and only keywords that
            bind are kept.
        definitions: Name to schema, of all that is referred to.

    """

    root: Schema
    definitions: Mapping[str, JsonValue]

    def write(self) -> Schema:
        """Return it as one schema."""
        written: Schema = dict(self.root)
        if self.definitions:
            written["$defs"] = dict(self.definitions)
        return written

    def follow(self, reference: JsonValue) -> JsonValue:
        """Return the definition that a reference of this bundle names."""
        return self.definitions[definition_name(reference)]


def definition_name(reference: JsonValue) -> str:
    """Return the name of the definition that a reference in a bundle names."""
    return str(reference).removeprefix("#/$defs/")


def every_schema(bundle: Bundle) -> Iterator[Schema]:
    """Yield every schema of a bundle that is not true or false alone."""
    waiting = [bundle.root, *bundle.definitions.values()]
    while waiting:
        schema = waiting.pop()
        if isinstance(schema, dict):
            yield schema
            waiting += [part for _, part in inner_schemas(schema)]


def read_schema(text: str) -> Bundle:
    """Read a JSON Schema.

    Args:
        text: The schema as JSON text, of draft 4 or later.

    Returns:
        The same in one form.

    Raises:
        ConfigurationError: It is no JSON Schema, nested too deeply, or refers to what is not in it.

    """
    try:
        schema: JsonValue = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"The JSON Schema is no JSON: {error}. Correct it.") from error
    if not isinstance(schema, dict):
        raise ConfigurationError(
            f"The JSON Schema is {json.dumps(schema)[:80]}, which is no JSON object. Write its keywords, "
            'such as {"type": "string"}.'
        )
    _check_levels(schema)
    bundle = _Bundler(schema).bundle(schema)
    _check_form(bundle.write())
    return bundle


def _check_levels(schema: JsonValue) -> None:
    level, parts = 0, [schema]
    while parts:
        level += 1
        if level > _MAX_LEVELS:
            raise ConfigurationError(
                f"The JSON Schema is nested beyond {_MAX_LEVELS} levels. Put inner parts into $defs and "
                "refer to them."
            )
        parts = [
            inner
            for part in parts
            if isinstance(part, dict | list)
            for inner in (part.values() if isinstance(part, dict) else part)
        ]


def _check_form(schema: Schema) -> None:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match

    error = best_match(Draft202012Validator(Draft202012Validator.META_SCHEMA).iter_errors(schema))
    if error is not None:
        place = "/".join(map(str, error.absolute_path))
        raise ConfigurationError(
            f"The JSON Schema is none: at {place or 'its root'}, {error.message[:200]}. Correct it."
        )


class _Bundler:
    def __init__(self, schema: Schema) -> None:
        dialect = str(schema.get("$schema", ""))
        self._references_stand_alone = any(draft in dialect for draft in _LONE_REFERENCES)
        self._references = References(schema, "id" if "draft-04/" in dialect else "$id")
        # By identity: two places of one schema are two definitions, however alike.
        self._names: dict[int, str] = {}
        self._waiting: list[tuple[str, JsonValue]] = []

    def bundle(self, schema: Schema) -> Bundle:
        root = self._move_object(schema)
        definitions: dict[str, JsonValue] = {}
        while self._waiting:
            name, target = self._waiting.pop()
            definitions[name] = self._move(target)
        return Bundle(root=root, definitions=definitions)

    def _move(self, schema: JsonValue) -> JsonValue:
        return self._move_object(schema) if isinstance(schema, dict) else schema

    def _move_object(self, schema: Schema) -> Schema:
        references = [
            self._refer(reference, schema)
            for keyword in _REFERENCES
            if isinstance(reference := schema.get(keyword), str)
        ]
        if references and self._references_stand_alone:
            return references[0]
        kept = {name: value for name, value in _modernise(schema).items() if name in BINDING}
        moved = map_schemas(kept, self._move)
        match references:
            case []:
                return moved
            case [reference]:
                return {**reference, **moved}
            case _:
                return {"allOf": [*references, moved]}

    def _refer(self, reference: str, place: Schema) -> Schema:
        target = self._references.find(reference, place)
        name = self._names.get(id(target))
        if name is None:
            name = f"{len(self._names)}-{_last_word(reference)}"
            self._names[id(target)] = name
            self._waiting.append((name, target))
        return {"$ref": f"#/$defs/{name}"}


def _last_word(reference: str) -> str:
    # For messages; a name must survive as a part of a JSON Pointer in a URI, and being read again.
    word = re.sub(r"^\d+-", "", unquote(reference.rpartition("/")[2]))
    return "".join(sign for sign in word if sign.isascii() and (sign.isalnum() or sign in "_.-"))[:40]


def _modernise(schema: Schema) -> Schema:
    """Write what older drafts wrote otherwise in the keywords of 2020-12."""
    schema = dict(schema)
    if isinstance(schema.get("items"), list):
        schema["prefixItems"] = schema.pop("items")
        if "additionalItems" in schema:
            schema["items"] = schema["additionalItems"]
        if schema["prefixItems"] == []:
            del schema["prefixItems"]
    for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if isinstance(schema.get(exclusive), bool):
            is_exclusive = schema.pop(exclusive)
            if is_exclusive and bound in schema:
                schema[exclusive] = schema.pop(bound)
    if "unevaluatedProperties" in schema and not any(keyword in schema for keyword in _EVALUATING):
        # Nothing but the schema's own properties is evaluated, so the two say the same.
        schema["additionalProperties"] = schema.pop("unevaluatedProperties")
    if isinstance(dependencies := schema.get("dependencies"), dict):
        names: Schema = {name: needs for name, needs in dependencies.items() if isinstance(needs, list)}
        rest: Schema = {name: needs for name, needs in dependencies.items() if name not in names}
        schema.setdefault("dependentRequired", names)
        schema.setdefault("dependentSchemas", rest)
    return schema
