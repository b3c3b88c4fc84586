# SPDX-License-Identifier: Apache-2.0
"""Checks values against the part of JSON Schema that src/api/openapi.yaml uses."""
import re

KINDS = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)}
KNOWN = {"type", "properties", "required", "additionalProperties", "enum", "items", "oneOf", "$ref", "minimum",
         "maximum", "exclusiveMinimum", "maxItems", "maxProperties", "minLength", "maxLength", "pattern",
         "propertyNames", "default", "description", "format", "minItems"}


def is_kind(value, kind):
    if kind in ("integer", "number"):
        return not isinstance(value, bool) and isinstance(value, int if kind == "integer" else (int, float))
    return isinstance(value, KINDS[kind])


def resolve(doc, schema):
    while "$ref" in schema:
        at = doc
        for part in schema["$ref"].removeprefix("#/").split("/"):
            at = at[part]
        schema = at
    return schema


def bounds(schema, value):
    size = len(value) if isinstance(value, (str, list, dict)) else None
    number = value if size is None and not isinstance(value, bool) else None
    for keyword, of, good in (("minimum", number, lambda v, b: v >= b), ("maximum", number, lambda v, b: v <= b),
                              ("exclusiveMinimum", number, lambda v, b: v > b),
                              ("maxItems", size, lambda v, b: v <= b), ("minItems", size, lambda v, b: v >= b),
                              ("maxProperties", size, lambda v, b: v <= b),
                              ("minLength", size, lambda v, b: v >= b), ("maxLength", size, lambda v, b: v <= b)):
        if keyword in schema and of is not None and not good(of, schema[keyword]):
            yield f"{keyword} {schema[keyword]}"
    if "pattern" in schema and isinstance(value, str) and not re.search(schema["pattern"], value):
        yield f"pattern {schema['pattern']}"


def members(doc, schema, value, path):
    known = schema.get("properties", {})
    more = schema.get("additionalProperties", True)
    yield from (f"{path}: {name} is missing" for name in schema.get("required", ()) if name not in value)
    for name, member in value.items():
        if "propertyNames" in schema:
            yield from problems(doc, schema["propertyNames"], name, f"{path}.{name} (its name)")
        if name in known:
            yield from problems(doc, known[name], member, f"{path}.{name}")
        elif more is False:
            yield f"{path}: {name} is not described"
        elif isinstance(more, dict):
            yield from problems(doc, more, member, f"{path}.{name}")


def problems(doc, schema, value, path="$"):
    """What is wrong with the value, as sentences."""
    schema = resolve(doc, schema)
    unknown = set(schema) - KNOWN
    if unknown:
        yield f"{path}: the checker does not know {unknown}"
    if "oneOf" in schema:
        fits = [s for s in schema["oneOf"] if not list(problems(doc, s, value, path))]
        if len(fits) != 1:
            yield f"{path}: {value!r:.80} fits {len(fits)} of oneOf"
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(is_kind(value, kind) for kind in kinds):
        yield f"{path}: {value!r:.80} is not {kinds}"
        return
    if "enum" in schema and not any(value is word or (value == word and type(value) is type(word))
                                    for word in schema["enum"]):
        yield f"{path}: {value!r:.80} is none of {schema['enum']}"
    yield from (f"{path}: {value!r:.80} breaks {what}" for what in bounds(schema, value))
    if isinstance(value, dict):
        yield from members(doc, schema, value, path)
    if isinstance(value, list) and "items" in schema:
        for i, item in enumerate(value):
            yield from problems(doc, schema["items"], item, f"{path}[{i}]")
