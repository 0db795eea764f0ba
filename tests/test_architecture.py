"""Imports go one way, and docs/architecture.md names what is there. Read from the source; nothing is imported."""

import ast
import re
from functools import lru_cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = ROOT / "scripts"
PAGE = ROOT / "docs/architecture.md"
# What lies behind a task: engines, reports, and what joins them.
ABOVE_TASKS = (
    "mug.generation",
    "mug.report",
    "mug.evaluation",
    "mug.predictions",
    "mug.parity",
    "mug.submission_files",
    "mug.minutes",
    "mug.transcripts",
    "mug.training",
    "mug.web",
)


def module_name(path: Path) -> str:
    parts = path.relative_to(SCRIPTS).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@lru_cache
def trees() -> dict[str, ast.Module]:
    return {module_name(path): ast.parse(path.read_text("utf-8")) for path in sorted(SCRIPTS.rglob("*.py"))}


def imports(name: str) -> set[str]:
    """Return the modules of ours that a module imports, those inside functions and under TYPE_CHECKING too."""
    tree = trees()[name]
    is_package = (SCRIPTS / Path(*name.split(".")) / "__init__.py").exists()
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = name.split(".")[: len(name.split(".")) - node.level + is_package]
                base = ".".join([*package, *([node.module] if node.module else [])])
            # "from mug.metrics import official" is mug.metrics.official; "from mug.tasks import TASKS" is mug.tasks.
            found |= {full if (full := f"{base}.{alias.name}") in trees() else base for alias in node.names}
    return {module for module in found if module in trees()}


def inside(module: str, *packages: str) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


LIBRARY = [name for name in trees() if inside(name, "mug")]
COMMAND_LINES = [name for name in trees() if not inside(name, "mug")]


def test_the_source_is_found():
    assert "evaluate" in COMMAND_LINES and "mug.tasks.title_generation" in LIBRARY
    assert imports("mug.tasks.title_generation") >= {"mug.tokens", "mug.metrics.official", "mug.tasks.base"}
    assert "mug.generation.engines" in imports("evaluate")  # inside a function


@pytest.mark.parametrize("name", list(trees()))
def test_nothing_imports_a_script(name):
    assert imports(name) & set(COMMAND_LINES) == set()


@pytest.mark.parametrize("name", [name for name in LIBRARY if inside(name, "mug.tasks")])
def test_tasks_know_neither_engines_nor_reports(name):
    assert {module for module in imports(name) if inside(module, *ABOVE_TASKS)} == set()


@pytest.mark.parametrize("name", [name for name in LIBRARY if inside(name, "mug.metrics")])
def test_metrics_know_neither_tasks_nor_engines_nor_reports(name):
    assert {module for module in imports(name) if inside(module, "mug.tasks", *ABOVE_TASKS)} == set()


@pytest.mark.parametrize("name", [name for name in LIBRARY if inside(name, "mug.generation")])
def test_engines_know_no_scores_and_no_reports(name):
    behind = ("mug.metrics.official", "mug.metrics.llamafactory", "mug.report", "mug.evaluation", "mug.predictions")
    assert {module for module in imports(name) if inside(module, *behind)} == set()


@pytest.mark.parametrize("name", [name for name in LIBRARY if inside(name, "mug.report")])
def test_reports_know_no_engines(name):
    assert {module for module in imports(name) if inside(module, "mug.generation")} == set()


def test_the_meeting_imports_nothing_of_ours():
    assert imports("mug.meeting") == set()


def test_there_are_no_cycles():
    TopologicalSorter({name: imports(name) for name in trees()}).prepare()  # raises CycleError


# --- the page --------------------------------------------------------------------------------------------------------


@lru_cache
def definitions() -> dict[str, set[str]]:
    """Map the name of each function, class, method and field to what may stand before its dot: its module or class."""
    found: dict[str, set[str]] = {}

    def collect(body: list[ast.stmt], owner: str) -> None:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                found.setdefault(node.name, set()).add(owner)
            for target in [node.target] if isinstance(node, ast.AnnAssign) else getattr(node, "targets", []):
                if isinstance(target, ast.Name):
                    found.setdefault(target.id, set()).add(owner)
            if isinstance(node, ast.ClassDef):
                collect(node.body, node.name)

    for module, tree in trees().items():
        collect(tree.body, module.rpartition(".")[2])
    return found


def named_on_the_page() -> list[str]:
    """Return the names in inline code, and those of the drawing that have a dot or an underscore."""
    text = PAGE.read_text("utf-8")
    fence = re.compile(r"^```text\n(.*?)^```", re.MULTILINE | re.DOTALL)
    code = re.findall(r"`([A-Za-z_][\w.]*)(?:\(\))?`", fence.sub("", text))
    drawing = re.findall(r"[A-Za-z_]\w*\.\w+|\b[a-z]+_[a-z]+\b", "".join(fence.findall(text)))
    not_in_the_code = re.compile(r"mug(?:\.\w+)*|.*\.(?:py|csv|json|md|yaml)")
    return sorted({name for name in (*code, *drawing) if not not_in_the_code.fullmatch(name)})


@pytest.mark.parametrize("name", named_on_the_page())
def test_what_the_architecture_page_names_is_in_the_code(name):
    owner, _, last = name.rpartition(".")
    assert last in definitions(), f"{name} is no function, class or field of ours"
    assert not owner or owner in definitions()[last], f"{last} is in {definitions()[last]}, not in {owner}"


def test_every_module_that_the_page_names_exists():
    named = set(re.findall(r"\bmug(?:\.[a-z_]+)+", PAGE.read_text("utf-8")))
    assert named - set(trees()) == set()


def test_the_table_of_engines_names_every_engine():
    """An engine is a class of mug.generation with ``name`` and ``generate``."""
    engines = {}
    for module in LIBRARY:
        if not inside(module, "mug.generation") or module == "mug.generation.base":
            continue
        for node in trees()[module].body:
            if not isinstance(node, ast.ClassDef):
                continue
            if any(isinstance(item, ast.FunctionDef) and item.name == "generate" for item in node.body):
                names = (item for item in node.body if isinstance(item, ast.Assign) and item.targets[0].id == "name")
                engines[next(names).value.value] = node.name
    assert len(engines) > 2
    rows = re.findall(r"^\| `--backend (\w+)` \| `(\w+)` \|", PAGE.read_text("utf-8"), re.MULTILINE)
    assert dict(rows) == engines
