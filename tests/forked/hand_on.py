"""A patch for a forked Locust, with which Locust forks the commands that it runs.

These commands are the interim analyses, and the commands before and after its run. The fork server
of Locust executes this text after its imports and before its first fork. The text replaces
`subprocess` in the modules that start the commands, so that the server of reports forks the
commands. `REPORTS` is a descriptor of the server of reports.
"""

# mypy: ignore-errors
import json
import os
import socket
import subprocess
import sys
import tempfile

import bench.load.runners.finalized_run
import bench.load.runners.interim_analyses  # noqa: F401  # imports early what reads scripts


def python_variables(environ):
    """Return the variables of Python, without the encoding of the streams, which are files in
    UTF-8 here.
    """
    return {
        name: value
        for name, value in environ.items()
        if name.startswith("PYTHON") and name != "PYTHONIOENCODING"
    }


PYTHONS = python_variables(os.environ)


class Forking:
    """A replacement for the parts of `subprocess` that the patched modules use.

    A command is not forked, but started as usual, if the Python variables of its environment differ
    from those of Locust.
    """

    CompletedProcess, TimeoutExpired = subprocess.CompletedProcess, subprocess.TimeoutExpired

    def run(self, command, *, env, timeout=None, start_new_session=False, **how):
        same = python_variables(env) == PYTHONS
        if not same or command[:3] != [sys.executable, "-P", "-m"]:
            return subprocess.run(
                command, env=env, timeout=timeout, start_new_session=start_new_session, **how
            )
        wanted = {
            "command": command,
            "option": "-m",
            "what": command[3],
            "words": command[4:],
            "cwd": os.getcwd(),
        }
        wanted |= {"env": dict(env), "new_session": start_new_session, "namespaces": []}
        with (
            open(os.devnull) as nothing,
            tempfile.TemporaryFile() as output,
            tempfile.TemporaryFile() as errors,
        ):
            status = self._status(wanted, timeout, nothing, output, errors)
            output.seek(0)
            errors.seek(0)
            code = os.waitstatus_to_exitcode(status)
            return subprocess.CompletedProcess(command, code, output.read(), errors.read())

    def _status(self, wanted, timeout, *streams):
        """Return the wait status of the command. Kill the command if the wait times out or is
        interrupted.
        """
        ours, theirs = socket.socketpair()
        with theirs, tempfile.TemporaryFile("w+", encoding="utf-8") as request:
            json.dump(wanted, request)
            request.seek(0)
            descriptors = [
                request.fileno(),
                theirs.fileno(),
                *(stream.fileno() for stream in streams),
            ]
            with socket.socket(fileno=os.dup(REPORTS)) as requests:  # noqa: F821
                socket.send_fds(requests, [b"f"], descriptors)
        with ours, ours.makefile("rb") as status_lines:
            pid = int(status_lines.readline())
            ours.settimeout(timeout)
            try:
                return int(status_lines.readline())
            except BaseException as error:
                os.kill(pid, 9)
                if isinstance(error, TimeoutError):
                    raise subprocess.TimeoutExpired(wanted["command"], timeout) from None
                raise


def output_of(command):
    ended = Forking().run(command, env=os.environ, start_new_session=True)
    if ended.returncode != 0:
        raise OSError(ended.stderr.strip().splitlines()[-1])
    return ended.stdout


bench.load.runners.finalized_run.subprocess = Forking()
bench.load.runners.finalized_run.output_of = output_of
