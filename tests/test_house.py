"""The house rules as tests: sizes of rooms and modules, names that exist once, imports at the top, methods of a class.

Each list of exceptions may only become shorter: an entry that is not needed any more is an offence, too.
"""

import ast
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent
MOST_MODULES: Final = 14
LINES: Final = range(40, 501)
MOST_METHODS: Final = 20

#: Folders with more modules than that, to be divided.
CROWDED: Final[dict[str, int]] = {}
#: Public classes of one name in several modules, to be renamed.
NAMESAKES: Final[frozenset[str]] = frozenset()
#: Modules below the least size: what stands there belongs to nobody else.
SMALL: Final = frozenset(
    {
        "planning/spans.py",
        "rules/report.py",
        "web/rules/diffs.py",
    }
)
#: The doors: modules that import ours inside functions, because they must start fast or be imported late, with how
#: many of such statements they have.
DOORS: Final[dict[str, int]] = {
    "app.py": 2,
    "archive/hour_files.py": 4,
    "archive/merge.py": 2,
    "archive/publish.py": 2,
    "archive/scrub.py": 2,
    "archive/table.py": 1,
    "cli/archive/publish.py": 2,
    "cli/archive/quarantine.py": 3,
    "cli/archive/rebuild_ledger.py": 3,
    "cli/archive/rescan.py": 3,
    "cli/archive/retention.py": 2,
    "cli/archive/verify.py": 4,
    "cli/archive/verify_archive.py": 2,
    "cli/doctor.py": 4,
    "cli/generate.py": 5,
    "cli/inspect.py": 1,
    "cli/objects.py": 4,
    "cli/options.py": 1,
    "cli/receivers/export.py": 1,
    "cli/receivers/listing.py": 3,
    "cli/receivers/reconcile.py": 2,
    "cli/rules/apply.py": 6,
    "cli/rules/preview.py": 11,
    "cli/rules/show.py": 16,
    "cli/run.py": 7,
    "cli/series.py": 6,
    "cli/web.py": 5,
    "explore/preview.py": 3,
    "explore/standing.py": 2,
    "jobs/compact.py": 2,
    "jobs/derive.py": 17,
    "operations/runs.py": 13,
    "operations/sending.py": 6,
    "operations/ticks.py": 4,
    "operations/upkeep.py": 7,
    "rules/archive.py": 3,
    "web/rules/watch.py": 2,
    "web/site.py": 3,
}
#: What the product itself does not use, and why it stands there.
UNUSED: Final[dict[str, str]] = {
    "ELSEWHERE": "beside the alerts of `monitoring.now`: what a test holds them against the file of alert rules by",
    "ONLY_HERE": "the same",
    "QUERIES": "what is asked of Dagster's webserver, which a test holds against Dagster's schema",
    "REASONS": "what reasons of refusals mean, beside them; a test holds those that occur against it",
    "tell_of_last": "imported by the lines of code that the process runs which watches a worker",
    "ulid_entropy": "the reader beside the writer of identifiers",
}


@cache
def modules() -> dict[str, ast.Module]:
    """Path below pyro_assets -> tree, without generated modules."""
    paths = sorted(path for path in (ROOT / "pyro_assets").rglob("*.py") if not path.name.endswith("_pb2.py"))
    paths = [path for path in paths if path.relative_to(ROOT / "pyro_assets").parts[0] != "resources"]
    return {path.relative_to(ROOT / "pyro_assets").as_posix(): ast.parse(path.read_text("utf-8")) for path in paths}


def test_no_folder_has_more_than_fourteen_modules():
    found = Counter(str(Path(path).parent) for path in modules() if not path.endswith("__init__.py"))
    assert {folder: number for folder, number in found.items() if number > MOST_MODULES} == CROWDED


def test_modules_have_a_size_that_is_read_in_one_go():
    sizes = {path: len((ROOT / "pyro_assets" / path).read_text("utf-8").splitlines()) for path in modules()}
    sizes = {path: size for path, size in sizes.items() if Path(path).name not in ("__init__.py", "__main__.py")}
    assert {path: size for path, size in sizes.items() if size >= LINES.stop} == {}
    assert {path for path, size in sizes.items() if size < LINES.start} == SMALL


def test_a_public_class_name_exists_once():
    found = defaultdict(list)
    for path, tree in modules().items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].append(path)
    assert {name for name, paths in found.items() if len(paths) > 1} == NAMESAKES


def test_ours_is_imported_at_the_top_but_through_doors():
    found: Counter[str] = Counter()
    for path, tree in modules().items():
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
        inner = {
            id(node)
            for function in functions
            for node in ast.walk(function)
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pyro_assets")
        }
        if inner:
            found[path] = len(inner)
    assert dict(found) == DOORS


def test_no_class_has_more_than_twenty_public_methods():
    found = {
        f"{path}:{node.name}": sum(
            isinstance(one, ast.FunctionDef) and not one.name.startswith("_") for one in node.body
        )
        for path, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }
    assert {name: number for name, number in found.items() if number > MOST_METHODS} == {}


def test_every_module_is_imported_by_the_product():
    imported = set()
    for tree in modules().values():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module:
                imported |= {node.module, *(f"{node.module}.{one.name}" for one in node.names)}
    # Commands are imported by name; the rest is what Dagster and Python start themselves.
    started = {"definitions", "defs.coordinator", "demo.__main__"}
    names = {path.removesuffix(".py").replace("/", ".").removesuffix(".__init__") for path in modules()}
    lost = {name for name in names if f"pyro_assets.{name}" not in imported}
    lost = {name for name in lost if not name.startswith("cli.") and name not in started}
    packages = {
        path.removesuffix("/__init__.py").replace("/", ".") for path in modules() if path.endswith("__init__.py")
    }
    assert lost - packages - {"__init__"} == set()


def test_what_stands_in_the_product_is_used_by_the_product():
    trees = [*modules().values(), *(ast.parse(path.read_text("utf-8")) for path in (ROOT / "resources").glob("*.py"))]
    used: set[str] = set()
    for node in (node for tree in trees for node in ast.walk(tree)):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Store):
            used.add(node.id)
        elif isinstance(node, ast.Attribute):
            used.add(node.attr)
        elif isinstance(node, ast.alias):
            used.add(node.name)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier():
            used.add(node.value)
    found: set[str] = set()
    for node in (node for tree in trees for node in tree.body):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.decorator_list:
            found.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id for target in targets if isinstance(target, ast.Name)}
    assert {name for name in found - used if not name.startswith("__")} == set(UNUSED)
