"""A program to supervise: says when it is ready, keeps a journal, and misbehaves on request."""

import argparse
import signal
import subprocess
import sys
import threading
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--name", required=True)
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--deaf", action="store_true", help="ignore SIGTERM")
    parser.add_argument("--never-ready", action="store_true")
    parser.add_argument("--wait", action="store_true", help="begin with a line on standard input")
    parser.add_argument("--needs", type=Path, help="end with an error unless this file exists")
    parser.add_argument("--grandchild", action="store_true", help="start one that outlives us")
    arguments = parser.parse_args()
    directory: Path = arguments.directory
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: None if arguments.deaf else stopping.set())
    if arguments.wait:
        note(directory, f"spare {arguments.name}")
        if not sys.stdin.readline():
            return
    note(directory, f"start {arguments.name}")
    if (directory / f"{arguments.name}.broken").exists():
        sys.exit(f"{arguments.name} is broken")
    if arguments.needs and not arguments.needs.exists():
        sys.exit(f"{arguments.name} needs {arguments.needs.name}")
    if arguments.grandchild:
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        (directory / "grandchild").write_text(str(child.pid))
    if not arguments.never_ready:
        (directory / f"{arguments.name}.ready.json").write_text("{}")
    stopping.wait()
    note(directory, f"stop {arguments.name}")


def note(directory: Path, line: str) -> None:
    with (directory / "journal").open("a") as journal:
        journal.write(line + "\n")


if __name__ == "__main__":
    main()
