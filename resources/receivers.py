"""Receivers in the environment: the file that lists them, and where their secrets are looked up.

Only names are configuration; the file is read and secrets are looked up where samples are sent. What a receiver may
say is described in `pyro_assets.receivers.model`.
"""

import os
from collections.abc import Mapping
from types import MappingProxyType

from pyro_assets.resources.environment import RECEIVERS, value


def receivers_file(environ: Mapping[str, str] | None = None) -> str:
    """The file of receivers, "" for none.

    >>> receivers_file({}), receivers_file({"PYRO_ASSETS_RECEIVERS": "receivers.yaml"})
    ('', 'receivers.yaml')
    """
    return value(RECEIVERS, environ)


def environment_secrets() -> Mapping[str, str]:
    """The environment, not to be changed and not to be shown."""
    return MappingProxyType(_Unshown(os.environ))


class _Unshown(dict[str, str]):
    """A copy of variables that does not show its values."""

    def __repr__(self) -> str:
        return f"<{len(self)} variables>"
