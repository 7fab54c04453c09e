"""The documentation is true: its Python runs, its links lead somewhere, and no scenario key is missing."""

import ast
import json
import pkgutil
import re
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_args

import pytest
from support.registries import own_registries  # noqa: F401 - a fixture

import baselines
import evaluate
import train
from agents.export import command as export
from agents.tune import __main__ as tune
from evaluation.comparison import LOOP_METRICS, METRICS, TESTBED_METRICS
from wdmoe_env import Scenario, load_scenario, preset_names
from wdmoe_env.envs.codecs import OBSERVATIONS
from wdmoe_env.envs.features import FEATURES
from wdmoe_env.envs.ids import PRESETS, id_of
from wdmoe_env.envs.infos import KEYS
from wdmoe_env.gating.bank import Split, gate_bank
from wdmoe_env.settings.quantities import MAX_DISTANCE_M, MAX_SPEED_M_S
from wdmoe_env.simulator import simulator

ROOT = Path(__file__).resolve().parents[1]
GUIDES = [ROOT / "README.md", ROOT / "README.zh-CN.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = sorted(
    path
    for path in ROOT.rglob("*.md")
    if not any(part.startswith(".") or part in ("runs", "results", "build") for part in path.relative_to(ROOT).parts)
)
KEYS_PAGE = ROOT / "docs" / "reference" / "scenario-keys.md"
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
NOT_RUN = re.compile(r"<!-- not run: .+ -->\s*$")
FILE = re.compile(r"<!-- file: (\S+) -->\s*$")
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
SCENARIO_ROW = re.compile(r"^\| `([\w.\[\]]+)` \|[^|]*\|[^|]*\| ([^|]+) \|", re.MULTILINE)
LIMITED_ROW = re.compile(r"^\| `([\w.\[\]]+)` \| ([^|]*) \|", re.MULTILINE)
BANK_PASSES = 4
PACKAGES = ("wdmoe_env", "baselines", "agents", "evaluation", "benchmarks")
NAME = re.compile(rf"(?:`|python -m )((?:{'|'.join(PACKAGES)})(?:\.\w+)+)")
PLACE = re.compile(rf"\b((?:{'|'.join(PACKAGES)}|tests|docs)/(?:[\w.-]+/)*[\w.-]*\w)")
STANDS_FOR_OTHERS = re.compile(r"\b[A-Z]+\b")


@dataclass(frozen=True)
class Block:
    language: str
    code: str
    line: int
    before: str


def blocks(page: Path) -> Iterator[Block]:
    """Every fenced block of a page, with the text before it."""
    text = page.read_text(encoding="utf-8")
    for found in FENCE.finditer(text):
        yield Block(found[1], found[2], text.count("\n", 0, found.start()) + 1, text[: found.start()])


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def keys(
    node: dict[str, Any], defs: dict[str, Any], prefix: str = ""
) -> Iterator[tuple[str, bool, Any, dict[str, Any]]]:
    """Every key of a JSON schema with its place, whether it is required, its default, and its limits."""
    if "$ref" in node:
        node = defs[node["$ref"].rsplit("/", 1)[-1]]
    for name, value in node["properties"].items():
        options = value.get("anyOf") or value.get("oneOf") or [value]
        sections = [option for option in options if "$ref" in option or "properties" in option]
        if "$ref" in value.get("items", {}):
            yield from keys(value["items"], defs, f"{prefix}{name}[].")
        elif sections:
            for section in sections:
                yield from keys(section, defs, f"{prefix}{name}.")
        else:
            limited = [option for option in options if "minimum" in option or "exclusiveMinimum" in option]
            yield f"{prefix}{name}", name in node.get("required", []), value.get("default"), (limited or [{}])[0]


def scenario_keys() -> dict[str, tuple[bool, Any, dict[str, Any]]]:
    """Of each key whether it is required, its default, and the part of the schema that has its limits."""
    schema = Scenario.model_json_schema()
    return {place: tuple(rest) for place, *rest in keys(schema, schema["$defs"])}


def allowed(limits: dict[str, Any]) -> str:
    """What the documentation calls the values within limits."""
    kind = "integer" if limits["type"] == "integer" else "number"
    low, high = (
        re.sub(r"e([+-])0?", lambda sign: "e-" if sign[1] == "-" else "e", f"{value:g}")
        for value in (limits.get("minimum", limits.get("exclusiveMinimum")), limits["maximum"])
    )
    return f"{kind} above {low}, at most {high}" if "exclusiveMinimum" in limits else f"{kind}, {low} to {high}"


@pytest.fixture
def quick(monkeypatch, tmp_path, own_registries):
    """An empty folder to run in, and small banks of gate weights: they are quick to draw, and change nothing else."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")

    def small_bank(gating, *rest):
        return gate_bank(gating.model_copy(update={"bank_passes": min(gating.bank_passes, BANK_PASSES)}), *rest)

    monkeypatch.setattr(simulator, "gate_bank", small_bank)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_python_in_the_documentation_runs(page, quick):
    namespace: dict[str, Any] = {"__name__": "documentation"}
    for block in blocks(page):
        if named := FILE.search(block.before):
            (quick / named[1]).write_text(block.code, encoding="utf-8")
        elif block.language == "python" and not NOT_RUN.search(block.before):
            # The empty lines make a traceback show the line of the page.
            exec(compile("\n" * block.line + block.code, str(page), "exec"), namespace)


def test_every_scenario_key_is_documented_with_its_default():
    documented = dict(SCENARIO_ROW.findall(KEYS_PAGE.read_text(encoding="utf-8")))
    known = scenario_keys()
    assert set(documented) == set(known)
    words = {None: "none", "": "empty"}
    from_the_section = {"channel.shadowing.std_db", "channel.fading.kind"} | {
        f"{section}.{end}" for section in ("devices[].speed_m_s", "load.initial_heat") for end in ("low", "high")
    }  # required in a section that has a default itself
    for place, (required, default, _) in known.items():
        cell = documented[place].strip()
        if place in from_the_section:
            assert cell.startswith("`"), place
        elif required:
            assert cell == "required", place
        else:
            assert cell == words.get(default, f"`{default}`"), place


# Intervals share one class, whose ends are checked where it is used.
ENDS = {
    "devices[].speed_m_s": (0.0, MAX_SPEED_M_S),
    "channel.distance_m": (1.0, MAX_DISTANCE_M),
    "load.initial_heat": (0.0, 1.0),
}


def test_every_limit_of_a_scenario_is_documented():
    kinds = dict(LIMITED_ROW.findall(KEYS_PAGE.read_text(encoding="utf-8")))
    for place, (_, _, limits) in scenario_keys().items():
        section = place.rpartition(".")[0]
        if section in ENDS:
            limits = {"type": "number", "minimum": ENDS[section][0], "maximum": ENDS[section][1]}
        if limits:
            assert kinds[place].strip() == allowed(limits), place


@pytest.mark.parametrize(("section", "ends"), ENDS.items())
def test_ends_of_intervals_are_checked(section, ends):
    def scenario(low, high):
        name, key = section.split(".")
        if name == "devices[]":
            device = load_scenario("paper").devices[0].model_dump(mode="json")
            return load_scenario("paper", devices=[{**device, key: {"low": low, "high": high}}])
        return load_scenario("paper", **{name: {key: {"low": low, "high": high}}})

    assert scenario(*ends)
    for low, high in ((ends[0] - 0.5, ends[1]), (ends[0], 1.01 * ends[1])):
        with pytest.raises(ValueError, match=section.split(".")[1]):
            scenario(low, high)


def test_sections_that_are_left_out_have_the_documented_defaults(tmp_path):
    data = load_scenario("paper").model_dump(mode="json")
    del data["channel"]["shadowing"], data["channel"]["fading"], data["devices"][0]["speed_m_s"]
    path = tmp_path / "short.yaml"
    path.write_text(json.dumps(data), encoding="utf-8")
    scenario = load_scenario(path)
    assert (scenario.channel.shadowing.std_db, scenario.channel.fading.kind) == (0.0, "rayleigh")
    assert (scenario.devices[0].speed_m_s.low, scenario.devices[0].speed_m_s.high) == (0.0, 0.0)


def options(module: Any) -> list[str]:
    return [f"--{field.name.replace('_', '-')}" for field in fields(module.Options)]


@pytest.mark.parametrize(
    ("page", "names"),
    [
        ("reference/options.md", [*options(train), *options(evaluate), *options(tune), *options(export)]),
        (
            "reference/observations.md",
            [*OBSERVATIONS, *(name for name in FEATURES if not name.startswith(("dropped_", "lost_")))],
        ),
        ("reference/metrics.md", [*KEYS.values(), *METRICS, *LOOP_METRICS, *TESTBED_METRICS]),
        ("reference/environment.md", list(map(id_of, PRESETS))),
        ("explanation/system-model.md", list(baselines.BASELINES)),
        ("how-to/evaluate.md", list(baselines.BASELINES)),
        ("reference/presets.md", preset_names()),
    ],
    ids=["options", "features", "metrics", "ids", "baselines", "policies", "presets"],
)
def test_every_name_is_documented(page, names):
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    assert [name for name in names if f"`{name}`" not in text] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_relative_links_lead_somewhere(page):
    prose = FENCE.sub("", page.read_text(encoding="utf-8"))
    for target in LINK.findall(prose):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name}: {target}"
        if anchor and file.suffix == ".md":
            assert anchor in anchors(file), f"{page.name}: {target}"


def exists(name: str) -> bool:
    """Whether a dotted name is that of a module, or of something in one; fields of a dataclass count."""
    try:
        pkgutil.resolve_name(name)
    except (ImportError, AttributeError):
        owner, _, field = name.rpartition(".")
        return "." in owner and exists(owner) and field in getattr(pkgutil.resolve_name(owner), "__annotations__", {})
    return True


@pytest.mark.parametrize(
    "page", [*GUIDES, ROOT / "CONTRIBUTING.md"], ids=lambda page: page.relative_to(ROOT).as_posix()
)
def test_names_and_files_in_the_documentation_exist(page):
    text = page.read_text(encoding="utf-8")
    names = {name for name in NAME.findall(text) if not STANDS_FOR_OTHERS.search(name.rpartition(".")[2])}
    assert [name for name in sorted(names) if not exists(name)] == []
    places = {place for place in PLACE.findall(text) if not STANDS_FOR_OTHERS.search(place)}
    assert [place for place in sorted(places) if not (ROOT / place).exists()] == []


def rows(page: str, heading: str = "") -> list[list[str]]:
    """Cells of all rows of a page's tables, or of those below one heading alone."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    if heading:
        text = text.partition(f"{heading}\n")[2].partition("\n## ")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]


def test_every_symbol_of_the_notation_is_in_the_glossary():
    notation = {
        symbol for cells in rows("explanation/system-model.md", "## Notation") for symbol in cells[0].split(", ")
    }
    known = {symbol for cells in rows("reference/glossary.md") for symbol in re.split(r"[,=…]\s*|\s+", cells[1])}
    known |= {symbol for cells in rows("reference/glossary.md") for symbol in re.findall(r"1…(\w)", cells[1])}
    assert {"w", "q", "b", "g_dl", "K", "n_e"} <= notation  # the table was found
    assert {symbol for symbol in notation - known if symbol.strip("-")} == set()


def test_names_in_the_glossary_exist():
    known = {*scenario_keys(), *KEYS, *METRICS, *get_args(Split)}
    names = [name for cells in rows("reference/glossary.md") for name in re.findall(r"`([\w.\[\]]+)`", cells[3])]
    assert len(names) > 60
    assert [name for name in names if name not in known and not exists(name)] == []


def test_every_part_of_the_environment_has_a_floor():
    floors = " ".join(cells[1] for cells in rows("explanation/architecture.md", "## The floors"))
    env = ROOT / "wdmoe_env"
    hardware = [f"hardware/{path.name}" for path in (env / "hardware").iterdir() if (path / "__init__.py").exists()]
    parts = [path.name for path in env.iterdir() if (path / "__init__.py").exists() and path.name != "hardware"]
    files = [path.name for path in env.glob("*.py") if path.name != "__init__.py"]
    assert [part for part in (*hardware, *parts, *files) if f"`wdmoe_env/{part}`" not in floors] == []


@pytest.mark.slow
def test_words_that_the_glossary_replaced_are_no_names_any_more():
    private = {
        "reach",
        "head_step",
        "rise",
        "play",
        "won",
        "paid",
        "judged",
        "judge",
        "likeness",
        "bill",
        "feed",
        "watch",
        "slack",
    }
    found = {
        f"{path.relative_to(ROOT)}: {name}"
        for package in (*PACKAGES, "tests")
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for name in (
            getattr(node, "id", None),
            getattr(node, "attr", None),
            getattr(node, "arg", None),
            getattr(node, "name", None),
        )
        if name in private
    }
    assert sorted(found) == []
