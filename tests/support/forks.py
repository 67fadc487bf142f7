"""A program that imports a module once and calls its `main` in a fork for each question: an import costs a second.

For programs that are to be killed at many points. Nothing may have been computed before a fork: Arrow and Polars have
threads then, which a fork would leave locked. `python forks.py PATH` reads arguments and writes results, a line of JSON
each; `Forks` is the other end.
"""

import importlib
import json
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self


class Forks:
    """The program of a module. A context manager."""

    def __init__(self, path: str) -> None:
        program = [sys.executable, __file__, path]
        self._process = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, *arguments: object) -> tuple[int, str, str]:
        """Exit status (a signal is negative), standard output and error of `main` with these arguments."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps([str(one) for one in arguments]), file=self._process.stdin, flush=True)
        status, out, err = json.loads(self._process.stdout.readline())
        return status, out, err

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()
        assert self._process.returncode == 0


def _forked(main: Callable[..., Any], arguments: Sequence[str]) -> tuple[int, str, str]:
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                os.dup2(out.fileno(), 1)
                os.dup2(err.fileno(), 2)
                main(*arguments)
                status = 0
            except Exception:  # noqa: BLE001
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(status)
        _, status = os.waitpid(pid, 0)
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode())
        return os.waitstatus_to_exitcode(status), texts[0], texts[1]


def main(path: str) -> None:
    sys.path.insert(0, str(Path(path).parent))
    module = importlib.import_module(Path(path).stem)
    for line in sys.stdin:
        print(json.dumps(_forked(module.main, json.loads(line))), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
