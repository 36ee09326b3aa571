"""The code in the documents runs as it stands, and does what the text around it says."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest
from examples.demo.provider import DemoProvider
from examples.month import write as write_month

from genledger.budgets import read_rules
from genledger.pricing.price_file import load_overrides

from ..genledger.applications import REPOSITORY, rows
from ..standins.langfuse_api import LangfuseApi
from ..standins.receivers import Collector, Langfuse, Receiver
from .blocks import DOCUMENTS, FENCE, block, blocks, commands, run, run_python, run_shell, shape

README = REPOSITORY / "README.md"
DOCS = REPOSITORY / "docs"


@pytest.fixture(scope="module")
def provider() -> Iterator[dict[str, str]]:
    """The variables by which clients find a provider on loopback."""
    with DemoProvider() as running:
        yield {
            "OPENAI_API_KEY": "demo",
            "OPENAI_BASE_URL": running.openai_url,
            "ANTHROPIC_API_KEY": "demo",
            "ANTHROPIC_BASE_URL": running.anthropic_url,
        }


@pytest.fixture
def collector() -> Iterator[Receiver]:
    with Collector() as receiver:
        yield receiver


@dataclass(frozen=True)
class Demo:
    """A directory in which the demo has run, and what it printed."""

    directory: Path
    output: str

    @property
    def variables(self) -> dict[str, str]:
        """What makes its ledger the ledger of a command."""
        return {"GENLEDGER_LEDGER": str(self.directory / "genledger-demo.db")}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    directory = tmp_path_factory.mktemp("demo")
    done = run_shell("python -m examples.demo", directory)
    assert (done.returncode, done.stderr) == (0, "")
    return Demo(directory, done.stdout)


@pytest.fixture(scope="module")
def month(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The variable that names the ledger of the page on questions."""
    path = tmp_path_factory.mktemp("month") / "month.db"
    write_month(path, datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0))
    return {"GENLEDGER_LEDGER": str(path), "COLUMNS": "80"}


# Python

WITHOUT_ANYTHING = (
    "alerts.md",
    "attribution.md",
    "budgets.md",
    "getting-started.md",
    "pricing.md",
    "semconv.md",
    "unit-economics.md",
)


@pytest.mark.parametrize("name", WITHOUT_ANYTHING)
def test_the_python_of_a_page_runs(name: str, tmp_path: Path, provider: dict[str, str]) -> None:
    done = run_python(DOCS / name, tmp_path, **provider)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_page_with_python_has_a_test_that_runs_it() -> None:
    pages = {document.name for document in DOCUMENTS for one in blocks(document) if one.language == "python"}
    own = {"README.md", "CONTRIBUTING.md", "content.md", "destinations.md", "ledger.md", "questions.md"}
    assert pages == own | set(WITHOUT_ANYTHING)


def test_the_readme_spends_what_it_says(tmp_path: Path, provider: dict[str, str]) -> None:
    ledger = tmp_path / "ledger.db"
    logged = (
        "import logging, sys\n"
        "logger = logging.getLogger('genledger.calls')\n"
        "logger.setLevel('INFO')\n"
        "logger.addHandler(logging.StreamHandler(sys.stdout))\n"
        "with genledger.attribution(tenant='acme', feature='copilot', user='u1', prompt_version='v4'):\n"
        "    messages = [{'role': 'user', 'content': 'Where is my order?'}]\n"
        "    client.chat.completions.create(model='gpt-4.1-mini', messages=messages)\n"
    )
    done = run_python(README, tmp_path, logged, **provider, GENLEDGER_LEDGER=str(ledger))
    assert (done.returncode, done.stderr) == (0, "")
    printed, line = done.stdout.splitlines()
    assert printed == block(README, "2 calls, ").text.strip()
    assert shape(line) == shape(block(README, "feature=copilot tenant").text)
    assert {(row["tenant"], row["feature"], row["user"], row["prompt_version"]) for row in rows(ledger)} == {
        ("acme", "copilot", "u1", "v4")
    }


def test_attributions_that_are_refused_are_refused_in_these_words(tmp_path: Path) -> None:
    import genledger

    said = []
    for wrong in ({"tenant": ""}, {"user": "x" * 10_000}):
        with pytest.raises(ValueError) as refused:
            genledger.attribution(**wrong)
        said.append(f"ValueError: {refused.value}")
    printed = block(DOCS / "attribution.md", "ValueError").text.splitlines()
    assert [line.startswith(start.rstrip("…")) for line, start in zip(said, printed, strict=True)] == [True, True]


def test_the_page_on_content_shows_what_redaction_leaves(
    tmp_path: Path, provider: dict[str, str], collector: Receiver
) -> None:
    call = (
        "import openai\n"
        "text = 'Write to ann@example.com about Falcon, card 4111 1111 1111 1111'\n"
        "messages = [{'role': 'user', 'content': text}]\n"
        "openai.OpenAI().chat.completions.create(model='gpt-4.1-mini', messages=messages)\n"
    )
    variables = {**provider, "OTEL_EXPORTER_OTLP_ENDPOINT": collector.base_url}
    done = run_python(DOCS / "content.md", tmp_path, call, **variables)
    assert (done.returncode, done.stderr) == (0, "")
    (span,) = collector.spans()
    name, _, value = block(DOCS / "content.md", "gen_ai.input.messages").text.strip().partition(" = ")
    assert span.attributes[name].startswith(value.removesuffix(", …").rstrip("}"))


def test_the_page_on_destinations_reaches_both(tmp_path: Path, provider: dict[str, str], collector: Receiver) -> None:
    call = (
        "import openai\n"
        "with genledger.attribution(tenant='acme'):\n"
        "    openai.OpenAI().embeddings.create(model='text-embedding-3-small', input='Hello')\n"
    )
    langfuse = Langfuse()
    variables = {
        **provider,
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.base_url,
        "LANGFUSE_PUBLIC_KEY": langfuse.public_key,
        "LANGFUSE_SECRET_KEY": langfuse.secret_key,
        "LANGFUSE_BASE_URL": langfuse.base_url,
    }
    with langfuse:
        done = run_python(DOCS / "destinations.md", tmp_path, call, **variables)
    assert (done.returncode, done.stderr) == (0, "")
    assert set(collector.by_name()) == set(langfuse.by_name()) == {"embeddings text-embedding-3-small"}
    assert {request.headers["x-scope-orgid"] for request in collector.traces()} == {"acme"}


def test_the_page_on_the_ledger_reads_it(demo: Demo) -> None:
    done = run_python(DOCS / "ledger.md", demo.directory, **demo.variables)
    assert (done.returncode, done.stderr) == (0, "")
    assert {line.split()[0] for line in done.stdout.splitlines()} == {"acme", "globex", "initech"}


def test_the_page_on_questions_asks_from_python(month: dict[str, str], tmp_path: Path) -> None:
    done = run_python(DOCS / "questions.md", tmp_path, **month)
    assert (done.returncode, done.stderr) == (0, "")
    assert {line.split()[1] for line in done.stdout.splitlines()} == {"acme", "globex", "initech"}


QUESTIONS = [
    one.text.partition("\n")[::2] for one in blocks(DOCS / "questions.md") if one.text.startswith("$ genledger ")
]


@pytest.mark.parametrize(("prompt", "answer"), [one for one in QUESTIONS if one[1]], ids=lambda text: text[:60])
def test_the_page_on_questions_shows_the_answers(
    month: dict[str, str], tmp_path: Path, prompt: str, answer: str
) -> None:
    done = run_shell(prompt.removeprefix("$ "), tmp_path, **month)
    assert (done.returncode, done.stderr) == (0, "")
    assert shape(done.stdout) == shape(answer)


def test_the_page_on_questions_asks_langfuse(tmp_path: Path) -> None:
    (tmp_path / "prices.toml").write_text(block(DOCS / "pricing.md", "# An Azure deployment").text)
    with LangfuseApi() as langfuse:
        for prompt in (prompt for prompt, answer in QUESTIONS if not answer):
            assert "langfuse" in prompt
            done = run_shell(prompt.removeprefix("$ "), tmp_path, **langfuse.environment)
            assert (done.returncode, done.stderr) == (0, ""), done.stderr
        assert len(langfuse.queries) > 0
        assert len(langfuse.models) > 100


# Shell

NEEDS_NETWORK = "genledger prices update"
SERVES = ("genledger dashboard", "genledger dashboard --host 0.0.0.0")
"""Commands that go on until they are stopped: tests of their own run them."""


def ours() -> Iterator[tuple[str, str]]:
    """Every `genledger` command in a shell block, and in the README's text, with the page that it is on."""
    for document in DOCUMENTS:
        found = [line for one in blocks(document) if one.language == "sh" for line in commands(one.text)]
        if document == README:
            found += re.findall(r"`(genledger [a-z][^`]*)`", FENCE.sub("", README.read_text(encoding="utf-8")))
        for command in found:
            if command.startswith("genledger ") and command not in (NEEDS_NETWORK, *SERVES, "genledger doctor"):
                yield document.name, command


@pytest.mark.parametrize("name", sorted({name for name, _ in ours()}))
def test_the_commands_of_a_page_run(name: str, demo: Demo, tmp_path: Path) -> None:
    (tmp_path / "prices.toml").write_text(block(DOCS / "pricing.md", "# An Azure deployment").text)
    script = "\n".join(command for page, command in ours() if page == name)
    variables = {**demo.variables, "GENLEDGER_BUDGET_STORE": "budgets.db", "GENLEDGER_LIBRARIES": "openai"}
    if name in ("README.md", "alerts.md", "dashboards.md"):
        monthly = '\n[[budget]]\nname = "monthly"\ntenant = "each"\nusd = 100\nper = "month"\n'
        (tmp_path / "budgets.toml").write_text(block(DOCS / "alerts.md", "[[alert]]").text + monthly)
        variables["GENLEDGER_BUDGETS"] = "budgets.toml"
    done = run_shell(f"set -e\n{script}", tmp_path, **variables)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout


def test_every_other_command_exists(tmp_path: Path) -> None:
    """What sets up environments, measures or goes to the network is not run: what it names is there."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    targets = {line.partition(":")[0] for line in (REPOSITORY / "Makefile").read_text().splitlines()}
    for document in DOCUMENTS:
        for one in blocks(document):
            for command in commands(one.text) if one.language == "sh" else ():
                match shlex.split(command):
                    case ["make", target]:
                        assert target in targets
                    case ["pip", "install", requirement]:
                        name, _, extra = requirement.rstrip("]").partition("[")
                        assert name == "."  # the source tree: no release is on PyPI yet
                        assert not extra or extra in project["optional-dependencies"]
                    case ["python", "-m", module, *_]:
                        path = REPOSITORY / module.replace(".", "/")
                        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists()
                    case ["python", script] | [_, "-m", "pytest", script, *_]:
                        assert (REPOSITORY / script).exists()
                    case ["export", *variables]:
                        assert run_shell(f"{command}; env", tmp_path).stdout.count("\n") > len(variables)
                    case ["genledger", *_] | ["opentelemetry-instrument", "python", "app.py"]:
                        pass  # run by other tests
                    case _:
                        raise AssertionError(f"{document.name}: nothing checks {command}")


# What the README shows


def test_the_readme_shows_the_report_of_the_demo(demo: Demo) -> None:
    prompt, _, printed = block(README, "$ genledger report").text.partition("\n")
    done = run_shell(prompt.removeprefix("$ "), demo.directory, **demo.variables)
    assert done.returncode == 0
    assert shape(done.stdout) == shape(printed)


def test_the_readme_shows_the_trace_of_the_demo(demo: Demo) -> None:
    shown = shape(block(README, "trace 3653").text)
    printed = shape(demo.output)
    begin = next(number for number, line in enumerate(printed) if line.startswith("trace "))
    assert printed[begin : begin + len(shown)] == shown


def test_the_readme_shows_what_an_application_leaves_that_knows_nothing(
    tmp_path: Path, provider: dict[str, str]
) -> None:
    (tmp_path / "app.py").write_text((REPOSITORY / "examples" / "ten_lines.py").read_text())
    script = "\n".join(commands(block(README, "opentelemetry-instrument").text))
    path = f"{REPOSITORY / 'examples'}"
    done = run_shell(f"set -e\n{script}", tmp_path, **provider, PYTHONPATH=path)
    assert (done.returncode, done.stderr) == (0, "")
    printed = shape(done.stdout)
    shown = shape(block(README, "model                    calls").text)
    assert printed[-len(shown) :] == shown


def test_the_readme_shows_the_budget_of_the_example(tmp_path: Path) -> None:
    rule = block(README, "[[budget]]").text
    assert rule in (REPOSITORY / "examples" / "budget.toml").read_text()
    done = run(["python", str(REPOSITORY / "examples" / "budget.py")], tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    printed, shown = shape(done.stdout), shape(block(README, "acme: call 1").text)
    for line, there in zip(shown, printed, strict=False):
        assert there.startswith(line.rstrip(" …"))


def test_the_readme_shows_what_doctor_tells(demo: Demo) -> None:
    prompt, _, shown = block(README, "$ genledger doctor").text.partition("\n")
    done = run_shell(prompt.removeprefix("$ "), demo.directory, **demo.variables)
    assert (done.returncode, done.stderr) == (0, "")
    printed = shape(done.stdout)
    lines = shape(shown)
    headings = [line for line, rule in pairwise(lines) if set(rule) == {"─"}]
    assert len(headings) == 3
    assert set(headings) < set(printed)
    first_words = {line.partition(" ")[0] for line in printed}
    assert {"launcher", "ledger", "prices", "budgets", "spool"} <= first_words & {
        line.partition(" ")[0] for line in lines
    }
    assert (printed[0], printed[-1]) == (lines[0], lines[-1])


# TOML


def test_the_budget_file_of_the_page_can_be_used(tmp_path: Path) -> None:
    (tmp_path / "budgets.toml").write_text(block(DOCS / "budgets.md", "store = ").text)
    assert len(read_rules(tmp_path / "budgets.toml").rules) == 7


def test_the_price_file_of_the_page_can_be_used(tmp_path: Path) -> None:
    (tmp_path / "prices.toml").write_text(block(DOCS / "pricing.md", "# An Azure deployment").text)
    assert len(load_overrides(tmp_path / "prices.toml")) == 7
