from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genledger_semconv import attributes, events, metrics, spans
from genledger_semconv.registry import Attribute, Event, Levels, Metric, SpanType, registry

FACTS = Path(__file__).parents[3] / "shared" / "data" / "genai_registry.json"


@pytest.fixture(scope="module")
def facts() -> dict[str, Any]:
    """The conventions' names as they were read from the conventions themselves."""
    if not FACTS.exists():
        pytest.skip("no copy of the conventions' registry beside the repository")
    return json.loads(FACTS.read_bytes())


def constants(module: object) -> dict[str, str]:
    return {name: value for name, value in vars(module).items() if name.isupper() and isinstance(value, str)}


def as_constants(names: Any) -> dict[str, str]:
    return {name.upper().replace(".", "_"): name for name in names}


def test_every_attribute_has_its_constant_and_every_constant_its_attribute() -> None:
    assert constants(attributes) == as_constants(registry().attributes)


def test_every_metric_has_its_constant_and_every_constant_its_metric() -> None:
    assert constants(metrics) == as_constants(registry().metrics)


def test_every_event_has_its_constant_and_every_constant_its_event() -> None:
    assert constants(events) == as_constants(registry().events)


def test_every_span_type_and_operation_has_its_constant_and_every_constant_its_entry() -> None:
    operations = [name for span_type in registry().spans.values() for name in span_type.operations]
    assert constants(spans) == as_constants([*registry().spans, *operations])


def test_constant_buckets_are_those_of_the_registry() -> None:
    in_registry = {name: metric.buckets for name, metric in registry().metrics.items() if metric.buckets}
    assert dict(metrics.BUCKETS) == in_registry


def test_every_histogram_has_rising_buckets_and_no_counter_has_any() -> None:
    for metric in registry().metrics.values():
        assert bool(metric.buckets) == (metric.instrument == "histogram"), metric.name
        assert list(metric.buckets) == sorted(set(metric.buckets)), metric.name


def test_operations_of_span_types_are_the_values_of_the_operation_attribute() -> None:
    operation = registry().attributes[attributes.GEN_AI_OPERATION_NAME]
    types = registry().spans.values()
    assert operation.closed
    assert set(operation.extensions) == spans.EXTENSION_OPERATIONS
    assert {name for span_type in types for name in span_type.operations} == {
        *operation.values,
        *operation.extensions,
    }


def every_levels() -> list[tuple[str, Levels]]:
    found = registry()
    return [
        *((name, span_type.levels) for name, span_type in found.spans.items()),
        *((name, metric.levels) for name, metric in found.metrics.items()),
        *((name, event.levels) for name, event in found.events.items()),
    ]


def test_only_known_attributes_are_declared_and_each_at_one_level() -> None:
    for name, levels in every_levels():
        listed = [*levels.required, *levels.conditional, *levels.recommended, *levels.opt_in]
        assert levels.declared <= set(registry().attributes), name
        assert set(levels.sampling) <= levels.declared, name
        # An attribution may add the prompt that the conventions ask for on some spans only.
        twice = {attribute for attribute in listed if listed.count(attribute) > 1}
        assert twice <= {"gen_ai.prompt.name", "gen_ai.prompt.version"}, name


def test_every_attribute_belongs_to_a_span_metric_event_or_resource() -> None:
    used = {attribute for _, levels in every_levels() for attribute in levels.declared}
    unused = {name for name in registry().attributes if name not in used}
    assert unused == {"gen_ai.main_agent.id", "gen_ai.main_agent.name", "gen_ai.main_agent.description"}


def test_span_name_patterns_use_declared_attributes() -> None:
    for span_type in registry().spans.values():
        for pattern in span_type.names:
            fields = {field for _, field, _, _ in string.Formatter().parse(pattern) if field}
            assert fields <= span_type.levels.declared, span_type.name


def test_every_name_says_which_conventions_it_is_from() -> None:
    found = registry()
    entries: list[Attribute | SpanType | Metric | Event] = [
        *found.attributes.values(),
        *found.spans.values(),
        *found.metrics.values(),
        *found.events.values(),
    ]
    assert {entry.version for entry in entries} == set(found.versions)
    for entry in entries:
        assert entry.brief, entry.name
        assert (entry.version == "genledger") == entry.name.startswith("genledger."), entry.name


def test_content_attributes_are_opt_in_wherever_they_may_be() -> None:
    content = {name for name, attribute in registry().attributes.items() if attribute.content}
    for name, levels in every_levels():
        assert content & levels.declared <= set(levels.opt_in), name


@pytest.mark.parametrize("template", ["genledger.metadata", "genledger.usage", "gen_ai.prompt.variable"])
@settings(deadline=None)
@given(key=st.text(min_size=1))
def test_a_template_takes_any_key(template: str, key: str) -> None:
    name = f"{template}.{key}"
    if name in registry().attributes:
        return
    found = registry().attribute(name)
    assert found is not None
    assert found.name == template


@pytest.mark.parametrize(
    "name",
    [
        "genledger.metadata",
        "genledger.metadata.",
        "genledger.usages.x",
        "gen_ai",
        "",
        "gen_ai.request.model.x",
    ],
)
def test_what_is_no_instance_of_a_name_is_unknown(name: str) -> None:
    assert registry().attribute(name) is None


def test_an_exact_name_goes_before_a_template() -> None:
    found = registry().attribute("genledger.usage.estimated")
    assert found is not None
    assert found.type == "boolean"


def test_attributes_agree_with_the_conventions(facts: dict[str, Any]) -> None:
    ours = {
        name: f"template[{entry.type}]" if entry.template else entry.type
        for name, entry in registry().attributes.items()
        if entry.version == "genai"
    }
    assert ours == {name: entry["type"] for name, entry in facts["attributes"].items()}


def test_enum_values_agree_with_the_conventions(facts: dict[str, Any]) -> None:
    for name, entry in facts["attributes"].items():
        if "enum" in entry:
            assert set(registry().attributes[name].values) == set(entry["enum"]), name


def test_metrics_agree_with_the_conventions(facts: dict[str, Any]) -> None:
    ours = {name: metric for name, metric in registry().metrics.items() if metric.version == "genai"}
    assert set(ours) == set(facts["metrics"])
    for name, entry in facts["metrics"].items():
        metric = ours[name]
        assert (metric.instrument, metric.unit) == (entry["instrument"], entry["unit"]), name
        assert metric.value_type == (entry["value_type"] or "double"), name
        assert metric.buckets == tuple(entry.get("buckets", ())), name


def level_of(entry: dict[str, Any]) -> str:
    return {"conditionally_required": "conditional"}.get(entry["level"].split(":")[0], entry["level"].split(":")[0])


def levels_of(levels: Levels) -> dict[str, str]:
    return {
        name: level for level in ("opt_in", "recommended", "conditional", "required") for name in getattr(levels, level)
    }


@pytest.mark.parametrize("section", ["spans", "metrics", "events"])
def test_requirement_levels_agree_with_the_conventions(facts: dict[str, Any], section: str) -> None:
    ours = getattr(registry(), section)
    for name, entry in facts[section].items():
        levels = levels_of(ours[name].levels)
        for attribute, requirement in entry["attributes"].items():
            assert levels.get(attribute) == level_of(requirement), (name, attribute)


def test_what_spans_carry_beyond_the_conventions_is_known(facts: dict[str, Any]) -> None:
    extensions = {
        attribute
        for name, entry in facts["spans"].items()
        for attribute in registry().spans[name].levels.declared - set(entry["attributes"])
        if registry().attributes[attribute].version != "genledger"
    }
    assert extensions == {
        *("user.id", "session.id", "gen_ai.prompt.name", "gen_ai.prompt.version"),
        # Pages of single providers
        *("openai.api.type", "openai.request.service_tier", "openai.response.service_tier"),
        *("openai.response.system_fingerprint", "aws.bedrock.guardrail.id", "aws.bedrock.knowledge_base.id"),
        "azure.resource_provider.namespace",
        # The conventions have them for inference; an embedding of several modalities counts each, too
        *("gen_ai.usage.text.input_tokens", "gen_ai.usage.image.input_tokens", "gen_ai.usage.audio.input_tokens"),
        # Refinements of execute_tool
        *(
            "gen_ai.skill.name",
            "gen_ai.skill.description",
            "gen_ai.skill.source.uri",
            "gen_ai.skill.resource.name",
        ),
        *("process.executable.name", "process.executable.path", "process.exit.code"),
    }


def test_sampling_relevance_agrees_with_the_conventions(facts: dict[str, Any]) -> None:
    for name, entry in facts["spans"].items():
        sampling = {attribute for attribute, requirement in entry["attributes"].items() if requirement.get("sampling")}
        assert set(registry().spans[name].levels.sampling) == sampling, name


def test_event_severities_agree_with_the_conventions(facts: dict[str, Any]) -> None:
    theirs = {name: event for name, event in registry().events.items() if event.version == "genai"}
    assert {name: event.severity for name, event in theirs.items()} == {
        name: entry.get("severity_number") for name, entry in facts["events"].items()
    }
