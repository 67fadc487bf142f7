"""The roles as the image starts them: a small end-to-end run, a rolling restart, and a machine lost with its Postgres.

What is tried here stands in `resources/docs/deployment.md`.
"""

import os
import sysconfig
from pathlib import Path

import pytest

from tests.support.deploy_roles import ROLES, Roles
from tests.support.postgres_server import PostgresServer

pytestmark = [pytest.mark.service, pytest.mark.nightly]


def test_roles_work_are_restarted_one_by_one_and_go_on_on_another_machine(tmp_path: Path, postgres: PostgresServer):
    roles = Roles(tmp_path, postgres, os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]]))
    try:
        roles.start(*ROLES)
        roles.generate(6)
        made = roles.wait_for_series(0)

        for name in ROLES:
            roles.processes.stop(name)
            assert not roles.is_healthy(name) or name == "daemon"  # a daemon's heartbeat is young for some time
            roles.start(name)
        roles.generate(6)
        made = roles.wait_for_series(made)

        roles.lose()
        roles.new_machine("second")
        roles.run("pyro-assets", "rebuild-ledger")
        roles.start(*ROLES)
        roles.generate(6)
        roles.wait_for_series(made)
    finally:
        roles.lose()
