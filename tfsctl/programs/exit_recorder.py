"""Run a program, wait for its end and write its exit status to a file: a script that outlives the tfsctl command.

Only the parent of a process learns its exit status, and the tfsctl that starts a detached server ends before it. So
`subprocesses.DetachedChild` runs this file as `python -I -S exit_recorder.py EXIT_FILE PROGRAM ARGUMENT…`.

- stdin: the environment of the program: each NAME=VALUE ends with a NUL byte, and the list with one more
- stdout: one line, `started PID` or `failed ERRNO`
- stderr: becomes stdout and stderr of the program
- EXIT_FILE: written when the program has ended: `PID STATUS TIME`, where STATUS is negative for a signal and TIME is
  Unix time in seconds
"""

from __future__ import annotations

import os
import signal
import sys
import time


def main(exit_file: str, *argv: str) -> None:
    """Run the program and record its end."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    variables = sys.stdin.buffer.read()
    if not variables.endswith(b"\0\0"):
        return  # tfsctl was killed; the variable by which the server is found may be missing
    environment = dict(pair.split(b"=", 1) for pair in variables.split(b"\0") if pair)
    pid, failure = start(argv, environment)
    os.write(1, (f"failed {failure}\n" if failure else f"started {pid}\n").encode())
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    if failure:
        return
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    temporary = f"{exit_file}.{pid}"
    with open(temporary, "w", encoding="ascii") as file:
        file.write(f"{pid} {status} {time.time()}\n")
    os.replace(temporary, exit_file)


def start(argv: tuple[str, ...], environment: dict[bytes, bytes]) -> tuple[int, int]:
    """Start the program in its own session. Returns its process id, and an errno if it cannot be executed."""
    reader, writer = os.pipe()  # closed by a successful exec
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM):
                signal.signal(number, signal.SIG_DFL)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(2, 1)
            os.execvpe(argv[0], argv, environment)  # noqa: S606 - no shell is wanted
        except OSError as error:
            os.write(writer, str(error.errno).encode())
        finally:
            os._exit(127)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        failure = int(pipe.read() or 0)
    if failure:
        os.waitpid(pid, 0)
    return pid, failure


if __name__ == "__main__":
    main(*sys.argv[1:])
