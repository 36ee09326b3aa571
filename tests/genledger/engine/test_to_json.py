"""Protobuf messages as JSON data, by protobuf's own types."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import descriptor_pb2 as d
from google.protobuf import json_format, struct_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from genledger.engine.to_json import plain


def test_only_fields_that_are_set_are_there_also_when_they_are_empty() -> None:
    file = d.FileDescriptorProto(name="", package="a", message_type=[d.DescriptorProto()])
    assert plain(file) == {"name": "", "package": "a", "message_type": [{}]}


def test_enums_are_named_and_one_that_is_newer_than_its_type_stays_a_number() -> None:
    field = d.FieldDescriptorProto(label="LABEL_REPEATED", type="TYPE_INT64")
    assert plain(field) == {"label": "LABEL_REPEATED", "type": "TYPE_INT64"}
    kinds = d.FieldOptions(targets=["TARGET_TYPE_FILE", "TARGET_TYPE_ENUM"])
    assert plain(kinds) == {"targets": ["TARGET_TYPE_FILE", "TARGET_TYPE_ENUM"]}
    assert plain(struct_pb2.Value(null_value=7)) == {"null_value": 7}  # type: ignore[arg-type]


def test_repeated_fields_and_maps_become_lists_and_dictionaries() -> None:
    assert plain(d.FileDescriptorProto(dependency=["a", "b"]).dependency) == ["a", "b"]
    struct = struct_pb2.Struct()
    struct.update({"a": [1, "b"], "c": True})
    assert plain(struct) == {
        "fields": {
            "a": {"list_value": {"values": [{"number_value": 1.0}, {"string_value": "b"}]}},
            "c": {"bool_value": True},
        }
    }


names = st.text(max_size=5)
fields = st.fixed_dictionaries({}, optional={"name": names, "number": st.integers(0, 2**31 - 1), "json_name": names})
messages = st.recursive(
    st.fixed_dictionaries({}, optional={"name": names, "field": st.lists(fields, max_size=3)}),
    lambda inner: st.fixed_dictionaries({}, optional={"name": names, "nested_type": st.lists(inner, max_size=3)}),
    max_leaves=5,
)


@settings(deadline=None)
@given(messages)
def test_a_message_becomes_what_protobufs_own_converter_makes_of_it(given: dict[str, Any]) -> None:
    message = json_format.ParseDict(given, d.DescriptorProto())
    assert plain(message) == json_format.MessageToDict(message, preserving_proto_field_name=True)


@pytest.mark.parametrize("value", ["text", b"bytes", 7, None, {"a": 1}])
def test_anything_else_stays_as_it_is(value: Any) -> None:
    assert plain(value) is value
