"""The YAML file of receivers: reading it, and refusing it as a whole with all its problems, each with line and field.

The models are in `model`, contradictions in `contradictions`. No message repeats a value of the file that could be
a secret, and nothing here looks a secret up.
"""

from pathlib import Path as FilePath
from typing import Final

from pydantic import Field

from pyro_assets.receivers.contradictions import receiver_problems
from pyro_assets.receivers.model import Model, Receiver
from pyro_assets.rules.validation import FieldProblem, read_file, validated
from pyro_assets.rules.yaml_text import Path, read_yaml

#: What pydantic calls the members of `HeaderValue`.
_UNIONS: Final = ("str", "SecretRef", "function-before[_check_header(), union[str,SecretRef]]")


class Receivers(Model):
    """Everything that a file of receivers says."""

    receivers: list[Receiver] = Field(default=[])

    def named(self, name: str) -> Receiver | None:
        """The receiver of a name, None where there is none."""
        return next((one for one in self.receivers if one.name == name), None)


def load_receivers(path: str | FilePath) -> Receivers:
    """Read a file of receivers, see `parse_receivers`.

    Raises:
        ConfigError: it cannot be read, or is refused.
    """
    return parse_receivers(read_file(path), str(path))


def parse_receivers(text: str, file: str = "<text>") -> Receivers:
    r"""Read receivers: a mapping with the key `receivers`, or the list alone. An empty file has none.

    >>> text = "receivers:\n- name: local\n  kind: prometheus\n  url: http://localhost:9090/api/v1/write"
    >>> parse_receivers(text).receivers[0].effective_tenant_label
    'tenant'
    >>> parse_receivers("- name: local\n  url: localhost:9090", "receivers.yaml")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    pyro_assets.errors.ConfigError: receivers.yaml:2: receivers[0].url: must be http:// or https:// ...

    Raises:
        ConfigError: it is refused; all problems are in its `problems`.
    """
    document = read_yaml(text, file)
    value, prefix = document.value, Path()
    if isinstance(value, list):
        value, prefix = {"receivers": value}, ("receivers",)
    elif value is None or value == {"receivers": None}:
        value = {}
    return validated(
        Receivers,
        value,
        document,
        _contradictions,
        place=lambda path: _below(path, prefix),
        unions=_UNIONS,
        has_secrets=True,
    )


def _contradictions(receivers: Receivers) -> list[FieldProblem]:
    found: list[FieldProblem] = []
    names: dict[str, int] = {}
    for position, receiver in enumerate(receivers.receivers):
        place: Path = ("receivers", position)
        first = names.setdefault(receiver.name, position)
        if first != position:
            why = f"receivers[{first}] is called {receiver.name!r} already; receipts are kept by name, choose another"
            found.append(((*place, "name"), why))
        found += [((*place, *path), why) for path, why in receiver_problems(receiver)]
    return found


def _below(path: Path, prefix: Path) -> Path:
    return path[len(prefix) :] if path[: len(prefix)] == prefix else path
