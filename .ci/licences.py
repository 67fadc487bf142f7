"""Compares the licences that an SBOM names with those that go with Apache-2.0, and writes them down for people.

`python .ci/licences.py SBOM PAGE`; ends with status 1 where a licence must be looked at. Add a licence here when a
person has read it and says why it may be used.
"""

import json
import re
import sys
from pathlib import Path

#: Permissive: may be used and given on beside Apache-2.0, with their notices.
PERMISSIVE = {
    "MIT", "MIT-0", "BSD-2-Clause", "BSD-3-Clause", "BSD", "0BSD", "Apache-2.0", "ISC", "Zlib", "CC0-1.0", "PSF-2.0",
    "Python-2.0", "Unlicense",
}  # fmt: skip
#: Weak copyleft, for the files themselves only: used as they are, changed by nobody here.
BY_FILE = {"MPL-2.0", "LGPL"}
#: What classifiers of packages mean, where no identifier is given.
CLASSIFIERS = {
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD",
    "MIT License": "MIT",
    "ISC License (ISCL)": "ISC",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "GNU Library or Lesser General Public License (LGPL)": "LGPL",
}
#: Packages whose metadata say nothing; as their repositories say.
READ = {"antlr4-python3-runtime": "BSD-3-Clause", "protobuf": "BSD-3-Clause"}
HEAD = """\
# Licences

`pyro_assets` is under the [Apache License 2.0](../../LICENSE). What it needs when it runs, with all extras, transitive
dependencies included, as `make release-check` found it; nothing of it is copied into this repository or its wheel. All
are permissive but those under MPL-2.0 and LGPL, which hold for their own files: they are used unchanged, as packages of
their own, which everybody can replace. Pyroscope, Grafana and Mimir are AGPL-3.0: nothing of their code is used.

| package | licence |
|---|---|
"""


def licence_of(component: dict) -> str:
    """The licence of a package, as an expression of identifiers; "" where none is known."""
    named = component.get("licenses", [])
    texts = [one.get("expression") or one["license"].get("id") or one["license"]["name"] for one in named]
    exact = [text for text in texts if "::" not in text]
    if exact:
        return " AND ".join(sorted(exact))
    names = sorted({CLASSIFIERS.get(text.rpartition(":: ")[2], text) for text in texts})
    return " OR ".join(names) or READ.get(component["name"], "")


def is_fine(licence: str) -> bool:
    """Whether every part that counts is known; of alternatives one is enough.

    >>> is_fine("MIT OR GPL-3.0"), is_fine("MIT AND GPL-3.0"), is_fine("")
    (True, False, False)
    """
    return any(set(re.split(" AND ", option.strip("() "))) <= PERMISSIVE | BY_FILE for option in licence.split(" OR "))


def main() -> None:
    """Check, and write the page."""
    sbom, page = map(Path, sys.argv[1:])
    found = {one["name"].lower(): licence_of(one) for one in json.loads(sbom.read_text("utf-8"))["components"]}
    found.pop("pyro-assets", None)
    bad = [f"{name}: {one or 'no licence is named'}" for name, one in sorted(found.items()) if not is_fine(one)]
    text = HEAD + "".join(f"| {name} | {licence} |\n" for name, licence in sorted(found.items()))
    if page.read_text("utf-8") != text:
        page.write_text(text, "utf-8")
        sys.stdout.write(f"{page} is new: commit it\n")
    if bad:
        sys.exit("licences to be looked at:\n" + "\n".join(bad))
    sys.stdout.write(f"{len(found)} packages, all under licences that go with Apache-2.0\n")


if __name__ == "__main__":
    main()
