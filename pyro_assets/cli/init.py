"""`pyro-assets init`: a folder with everything that an installation of its own needs.

Templates are `resources` (Dagster's settings) and `resources/deploy`; settings are written from their declarations.
Add a file when `doctor` or `dagster dev` wants it there.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click

from pyro_assets.cli.options import mode_option, setting_option
from pyro_assets.resources import environment
from pyro_assets.resources.environment import GROUPS, Environment
from pyro_assets.settings import variable, written

_RESOURCES: Final = Path(environment.__file__).parent
_WORKSPACE: Final = """\
# Dagster's one code location.
load_from:
  - python_module: {module_name: pyro_assets.definitions, location_name: pyro_assets}
"""
_RULES: Final = """\
# Which series are made, beside those of whole profiles by service. Try changes before they count:
#   pyro-assets rules validate rules.yaml
#   pyro-assets rules preview -f rules.yaml
# The whole language: page Rules > Language of `pyro-assets web`.
rules:
  - name: runtime
    functions: [{glob: "runtime.*"}]
    match: self
    by: [service_name]
    max_series: 200
"""
_RECEIVERS: Final = """\
# Who gets the series; `pyro-assets receivers check` asks them. For a Prometheus with --web.enable-remote-write-receiver
# and out_of_order_time_window: 1d in its configuration:
#   - name: prometheus
#     kind: prometheus
#     url: http://localhost:9090/api/v1/write
#     out_of_order_window: 1d
receivers: []
"""


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@setting_option("source_url")
@setting_option("archive_url")
@setting_option("ledger_url")
@mode_option
@setting_option("live_since", metavar="HOUR")
def init(folder: Path, mode: str, **given: Any) -> None:
    """Make a folder with settings, rules, receivers, Dagster's files and a compose file; nothing is overwritten.

    What is not said has a default, which the files tell. Names of local folders count from where you are.
    """
    given = {name: _placed(name, value) for name, value in given.items()}
    settings = Environment(**given | {"compaction": mode})
    folder = folder.absolute()
    (folder / "data").mkdir(parents=True, exist_ok=True)
    for name, text in _files(folder, settings):
        is_new = not (folder / name).exists()
        if is_new:
            (folder / name).write_text(text, "utf-8")
        click.echo(f"{'wrote' if is_new else 'kept '} {folder / name}")
    is_trial = settings.source_url == Environment.model_fields["source_url"].default
    trial = "  pyro-assets generate --hours 1    # no bucket of yours is named: makes one up\n" if is_trial else ""
    click.echo(
        f"\nGo there, and look whether all is well:\n\n  cd {folder}\n{trial}  pyro-assets doctor\n\n"
        "Then `dagster dev`, and beside it `pyro-assets web`; or, with an image, `docker compose up`."
    )


def _placed(name: str, value: str) -> str:
    """A local folder that was named from here, by its whole path; the default stays below the new folder."""
    if not name.endswith("_url") or "://" in value or value == Environment.model_fields[name].default:
        return value
    return str(Path(value).absolute())


def _files(folder: Path, settings: Environment) -> Iterator[tuple[str, str]]:
    yield ".env", "\n".join([*_lines(folder, settings), ""])
    yield "rules.yaml", _RULES
    yield "receivers.yaml", _RECEIVERS
    yield "dagster.yaml", (_RESOURCES / "dagster.yaml").read_text("utf-8")
    yield "workspace.yaml", _WORKSPACE
    yield "compose.yaml", (_RESOURCES / "deploy" / "compose.yaml").read_text("utf-8")


def _lines(folder: Path, settings: Environment) -> Iterator[str]:
    """All settings: set where they are no default, or where a person is to see them; otherwise as a comment."""
    chosen = {name: getattr(settings, name) for name in ("source_url", "archive_url", "ledger_url")}
    chosen |= {"config": "rules.yaml", "receivers": "receivers.yaml"}
    yield "# The settings of this folder, for commands and Dagster's processes that start here. Say each only here:"
    yield "# where the environment says something else, commands follow that, and Dagster's processes this file."
    yield "# For s3:// also AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION; for MinIO and the like, too,"
    yield "# AWS_ENDPOINT_URL, such as http://minio:9000."
    yield f"DAGSTER_HOME={_quoted(str(folder))}"
    for group in GROUPS:
        yield f"\n# {(group.__doc__ or '').rstrip('.')}"
        for name, field in group.model_fields.items():
            value = chosen.get(name, getattr(settings, name))
            mark = "" if name in chosen or value != field.default else "#"
            yield f"# {field.description}"
            yield f"{mark}{variable(name)}={_quoted(written(value))}"


def _quoted(value: str) -> str:
    return f"'{value}'" if set(value) & set(' #"$\\') else value
