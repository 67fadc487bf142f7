"""The layer rules as a test: imports are scanned, and an offence names file, line and the allowed place.

A new package of `pyro_assets` needs a line in LAYERS, a new library that only one place may know a line in
LIBRARIES. Imports inside functions and under TYPE_CHECKING count: they are dependencies too.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT = Path(__file__).parent.parent

#: The rooms from the ground up: each may import those before it.
ROOMS: Final = (
    "errors",
    "storage",
    "settings",
    "block",
    "ledger",
    "compaction",
    "rules",
    "receivers",
    "series",
    "planning",
    "jobs",
    "app",
    "export",
    "archive",
    "explore",
    "monitoring",
    "operations",
)
_BELOW: Final = set(ROOMS)
#: package (or module) of pyro_assets -> what it may import of the project, beside itself.
LAYERS: dict[str, set[str]] = {
    **{room: set(ROOMS[:number]) for number, room in enumerate(ROOMS)},
    # Computes its totals apart from the code under test, so neither compaction nor series.
    "generator": {"errors", "storage", "block"},
    # Dagster configuration -> plain objects.
    "resources": _BELOW,
    # Faces: they show and start what the rooms do.
    "defs": _BELOW | {"resources"},
    "definitions": {"defs", "resources"},
    "web": _BELOW,
    "cli": _BELOW | {"generator", "web", "resources"},
    "demo": _BELOW | {"generator", "web", "cli", "resources"},
}
#: library -> the places (packages, or files below pyro_assets) that may import it.
LIBRARIES: dict[str, set[str]] = {
    "dagster": {"defs", "definitions", "resources"},
    "fsspec": {"storage/bucket.py", "storage/s3_options.py"},
    "s3fs": {"storage/bucket.py"},
    "obstore": {"storage/s3.py"},
    "deltalake": {"archive/table.py"},
    "botocore": {"storage/s3_options.py"},
    "pydantic_settings": {"resources"},
    "click": {"cli"},
    "sqlalchemy": {"ledger", "rules", "planning", "jobs", "export", "archive", "explore", "monitoring"},
    "polars": {"series", "explore", "export", "pipeline", "cli", "demo"},
    "requests": {"export", "web/dagster_client.py"},
    "starlette": {"web"},
    "jinja2": {"web/site.py"},
    "uvicorn": {"web/serve.py"},
    "pytest": set(),
    "hypothesis": set(),
}

#: where environment variables may be named; the demo hands its own environment on to what it starts, and AWS' variables
#: are S3's.
ENVIRONMENT = {"resources"}
ENVIRONMENT_READ = ENVIRONMENT | {"demo", "storage/s3_options.py"}
DYNAMIC_IMPORTS = {"importlib.import_module", "__import__"}
_OUR_VARIABLE = re.compile(r"PYRO_ASSETS_[A-Z_]+$")


def imports(tree: ast.AST, package: str) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything that a module imports; `package` resolves relative imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")
            base = ".".join(parents[: len(parents) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            # `from pyro_assets import block` names a package in its list, not in its module.
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in DYNAMIC_IMPORTS:
            yield from ((node.lineno, str(name.value)) for name in node.args[:1] if isinstance(name, ast.Constant))


def layer_of(name: str) -> str | None:
    """The layer that a dotted name belongs to; None for what is not ours."""
    parts = name.split(".")
    return parts[1] if parts[0] == "pyro_assets" and len(parts) > 1 else None


def places_that_may(layer: str) -> str:
    """The layers that may import `layer`, for messages."""
    return ", ".join(sorted(name for name, allowed in LAYERS.items() if layer in allowed)) or "none"


def offences(source: str, path: str) -> list[str]:
    """What `source`, the text of the file at `path` (relative to the project), does against the rules."""
    # The folder `resources` of the checkout is the package pyro_assets.resources, by a symbolic link.
    place = Path("pyro_assets", path) if path.startswith("resources/") else Path(path)
    parts = place.with_suffix("").parts
    layer, inside = parts[1], "/".join(place.parts[1:])
    tree = ast.parse(source, path)
    found = []
    if layer != "__init__" and layer not in LAYERS:
        found.append(f"{path}:1: {layer} is no layer yet; give it a line in LAYERS of tests/test_layers.py")
    for line, name in imports(tree, ".".join(parts[:-1])):
        target = layer_of(name)
        if target is not None and target != layer and target not in LAYERS.get(layer, set()):
            places = places_that_may(target)
            found.append(f"{path}:{line}: {layer} may not import {target} ({name}); allowed in: {places}")
        allowed = LIBRARIES.get(name.split(".")[0])
        if allowed is not None and not {layer, inside} & allowed:
            places = ", ".join(sorted(allowed)) or "tests only"
            found.append(f"{path}:{line}: {name} may not be imported here; allowed in: {places}")
    for node in ast.walk(tree):
        reads = isinstance(node, ast.Attribute) and ast.unparse(node) in {"os.environ", "os.getenv"}
        if reads and not {layer, inside} & ENVIRONMENT_READ:
            found.append(f"{path}:{node.lineno}: reads the environment; allowed in: resources")
        names = isinstance(node, ast.Constant) and _OUR_VARIABLE.match(str(node.value))
        if names and layer not in ENVIRONMENT:
            found.append(f"{path}:{node.lineno}: names {node.value}; allowed in: resources")
    if source.strip() and ast.get_docstring(tree) is None and not path.endswith("_pb2.py"):
        found.append(f"{path}:1: no charter (a docstring that says what is here and what must not be)")
    return found


def modules() -> list[Path]:
    """Every module of the project, relative to its root."""
    return sorted(
        path.relative_to(ROOT) for folder in ("pyro_assets", "resources") for path in (ROOT / folder).rglob("*.py")
    )


def test_every_module_keeps_the_layers():
    found = [line for path in modules() for line in offences((ROOT / path).read_text("utf-8"), path.as_posix())]
    assert not found, "\n" + "\n".join(found)


def test_the_package_itself_imports_nothing():
    # Anything here would be imported by every module first: a cycle sooner or later.
    assert (ROOT / "pyro_assets" / "__init__.py").read_text("utf-8").strip() == ""


@pytest.mark.parametrize(
    ("path", "statement", "expected"),
    [
        (
            "pyro_assets/block/reader.py",
            "from pyro_assets.series import derive",
            "block may not import series",
        ),
        ("pyro_assets/block/reader.py", "from pyro_assets import series", "block may not import series"),
        ("pyro_assets/block/tsdb/reader.py", "from ...series import derive", "block may not import series"),
        (
            "pyro_assets/series/derive.py",
            "def f():\n    import dagster as dg",
            "allowed in: definitions, defs",
        ),
        ("pyro_assets/storage/keys.py", "import fsspec", "allowed in: storage/bucket.py, storage/s3_options.py"),
        (
            "pyro_assets/storage/keys.py",
            "import os\nx = os.environ['HOME']",
            "keys.py:3: reads the environment",
        ),
        ("pyro_assets/cli/main.py", "x = 'PYRO_ASSETS_SOURCE_URL'", "names PYRO_ASSETS_SOURCE_URL"),
        ("pyro_assets/newcomer/x.py", "x = 1", "newcomer is no layer yet"),
        (
            "pyro_assets/defs/assets.py",
            "import importlib\nimportlib.import_module('pyro_assets.web')",
            "defs may not",
        ),
    ],
)
def test_an_offence_names_file_line_and_allowed_place(path: str, statement: str, expected: str):
    (found,) = offences(f'"""Charter."""\n{statement}\n', path)
    assert found.startswith(f"{path}:")
    assert expected in found


@pytest.mark.parametrize(
    ("path", "statement"),
    [
        ("pyro_assets/storage/bucket.py", "import fsspec"),
        ("pyro_assets/block/tsdb/reader.py", "from . import labels\nfrom ..columns import Labels"),
        (
            "pyro_assets/defs/assets.py",
            "import dagster as dg\nfrom pyro_assets.explore.read import ArchivedJobs",
        ),
        ("resources/settings.py", "import os\nx = os.environ['PYRO_ASSETS_SOURCE_URL']"),
    ],
)
def test_what_is_allowed_passes(path: str, statement: str):
    assert offences(f'"""Charter."""\n{statement}\n', path) == []


def test_a_module_without_charter_is_an_offence():
    assert "no charter" in offences("x = 1\n", "pyro_assets/storage/keys.py")[0]
