"""Text protobufs that are hard to parse."""

from __future__ import annotations


def nested_struct(depth: int) -> str:
    """A ModelServerConfig with messages of that depth in an Any."""
    begin, end = 'fields { key: "a" value { struct_value { ', " } } }"
    value = f"[type.googleapis.com/google.protobuf.Struct] {{ {begin * depth}{end * depth} }}"
    return f"custom_model_config {{ {value} }}"
