"""Find what the references of a JSON Schema refer to, within it alone."""

from urllib.parse import unquote, urldefrag, urljoin

from gemma4_block.errors import ConfigurationError
from gemma4_block.json_schema.keywords import Schema
from gemma4_block.json_value import JsonValue


class References:
    """The parts of one schema by their addresses.

    Args:
        schema: The whole of it. It must stay as it is.
        id_keyword: What names a part: `id` up to draft 4, `$id` since.

    """

    def __init__(self, schema: Schema, id_keyword: str) -> None:
        self._id_keyword = id_keyword
        self._by_address: dict[str, JsonValue] = {"": schema}
        self._by_anchor: dict[tuple[str, str], JsonValue] = {}
        # By identity, because equal parts may stand at several places.
        self._bases: dict[int, str] = {}
        waiting: list[tuple[JsonValue, str]] = [(schema, "")]
        while waiting:
            part, base = waiting.pop()
            if isinstance(part, dict):
                base = self._name(part, base)
                waiting += [(inner, base) for inner in part.values()]
            elif isinstance(part, list):
                waiting += [(inner, base) for inner in part]

    def find(self, reference: str, place: Schema) -> JsonValue:
        """Return what a reference refers to.

        Args:
            reference: The value of `$ref`.
            place: The part that holds it.

        Returns:
            A part of the schema.

        Raises:
            ConfigurationError: It is not in the schema.

        """
        try:
            base, fragment = urldefrag(_join(self._bases[id(place)], reference))
            fragment = unquote(fragment)
            if fragment and not fragment.startswith("/"):
                return self._by_anchor[base, fragment]
            part = self._by_address[base]
            for step in fragment.split("/")[1:]:
                part = _step(part, step.replace("~1", "/").replace("~0", "~"))
        except (LookupError, ValueError) as error:
            raise ConfigurationError(
                f"The JSON Schema refers to {reference[:200]!r}, which is not in it, and nothing is fetched "
                "from elsewhere. Put what is meant into its $defs."
            ) from error
        return part

    def _name(self, part: Schema, base: str) -> str:
        own = part.get(self._id_keyword)
        if isinstance(own, str) and own.startswith("#"):
            self._by_anchor[base, own[1:]] = part
        elif isinstance(own, str):
            base = _join(base, own).rstrip("#")
            self._by_address[base] = part
        for keyword in ("$anchor", "$dynamicAnchor"):
            anchor = part.get(keyword)
            if isinstance(anchor, str):
                self._by_anchor[base, anchor] = part
        self._bases[id(part)] = base
        return base


def _join(base: str, reference: str) -> str:
    # Of addresses such as urn:x the standard library joins none.
    if reference.startswith("#"):
        return base + reference
    try:
        return urljoin(base, reference)
    except ValueError:
        return reference


def _step(part: JsonValue, name: str) -> JsonValue:
    match part:
        case dict():
            return part[name]
        case list():
            return part[int(name)]
    raise LookupError(name)
