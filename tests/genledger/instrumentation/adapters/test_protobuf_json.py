"""Protobuf messages read like JSON, by protobuf's own types."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import descriptor_pb2 as d
from google.protobuf import json_format, struct_pb2, type_pb2, wrappers_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from genledger.instrumentation.adapters.protobuf_json import as_json, copied


def read(value: Any) -> Any:
    """Everything that a view has in it."""
    if hasattr(value, "items"):
        return {name: read(inner) for name, inner in value.items()}
    return [read(one) for one in value] if isinstance(value, list) else value


names = st.text(max_size=5)
fields = st.fixed_dictionaries({}, optional={"name": names, "number": st.integers(0, 2**31 - 1), "jsonName": names})
messages = st.recursive(
    st.fixed_dictionaries({}, optional={"name": names, "field": st.lists(fields, max_size=3)}),
    lambda inner: st.fixed_dictionaries({}, optional={"name": names, "nestedType": st.lists(inner, max_size=3)}),
    max_leaves=5,
)
data = st.recursive(
    st.none() | st.booleans() | names | st.integers(-(2**50), 2**50) | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(messages)
def test_a_message_reads_as_what_protobufs_own_converter_makes_of_it(given: dict[str, Any]) -> None:
    message = json_format.ParseDict(given, d.DescriptorProto())
    assert read(as_json(message)) == json_format.MessageToDict(message)


@settings(deadline=None)
@given(st.dictionaries(names, data, max_size=3))
def test_data_in_a_message_reads_as_itself(given: dict[str, Any]) -> None:
    struct = struct_pb2.Struct()
    struct.update(given)
    option = type_pb2.Option(name="o")
    option.value.Pack(struct)
    held = struct_pb2.Value(struct_value=struct)
    outer = struct_pb2.ListValue(values=[held])
    message = struct_pb2.Struct(fields={"held": held, "list": struct_pb2.Value(list_value=outer)})
    assert read(as_json(struct_pb2.Value(struct_value=message))) == {"structValue": {"held": given, "list": [given]}}


def test_bytes_are_encoded_enums_are_named_and_numbers_are_as_they_were_written() -> None:
    assert read(as_json(wrappers_pb2.BytesValue(value=b"pixels"))) == {"value": "cGl4ZWxz"}
    assert read(as_json(wrappers_pb2.FloatValue(value=0.2))) == {"value": 0.2}
    assert read(as_json(wrappers_pb2.Int64Value(value=2**40))) == {"value": 2**40}
    kinds = d.FieldOptions(targets=["TARGET_TYPE_FILE", "TARGET_TYPE_ENUM"])
    assert read(as_json(kinds)) == {"targets": ["TARGET_TYPE_FILE", "TARGET_TYPE_ENUM"]}
    newer = d.FieldOptions.FromString(b"\x98\x01\x63")
    assert read(as_json(newer)).get("targets", [99]) == [99]


def test_what_is_absent_is_no_field_and_reading_it_does_not_make_it() -> None:
    message = as_json(d.FieldDescriptorProto(name="a"))
    assert message.get("number") is None
    assert len(message) == 1
    struct = struct_pb2.Struct()
    holder = struct_pb2.Struct(fields={"a": struct_pb2.Value(struct_value=struct)})
    view = as_json(struct_pb2.ListValue(values=[struct_pb2.Value(struct_value=holder)]))
    (inner,) = view["values"]
    assert inner.get("b") is None
    assert dict(inner) == {"a": inner["a"]}


def test_a_copy_stays_as_it_is_when_the_message_changes() -> None:
    message = d.FieldDescriptorProto(name="a")
    view, copy = as_json(message), copied(message)
    message.name = "b"
    assert (view["name"], copy["name"]) == ("b", "a")


@pytest.mark.parametrize("value", ["text", b"bytes", 7, None, {"a": 1}])
def test_anything_else_stays_as_it_is(value: Any) -> None:
    assert as_json(value) is value
    assert copied(value) is value
