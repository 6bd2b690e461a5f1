"""A standalone cluster of Spark on loopback, its drivers, and their ends."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from stackone_lms.sandbox import Sandbox

from ..surroundings import GIVEN

ROOT = Path(__file__).parents[2]
HOME = Path(os.environ.get("SPARK_ENVIRONMENT") or ROOT / ".venv" / "spark")
PYTHON = HOME / "bin" / "python"
SECONDS = float(os.environ.get("SPARK_SECONDS", "240"))
"""How long all of it may take, after which what is left is skipped: the machine is too slow, or busy."""
_DEADLINE = time.monotonic() + SECONDS
KEY = "v1.a-key-that-stands-in-no-plan-and-no-log"


def reason_to_skip() -> str | None:
    """Return why there is no Spark; None if there is."""
    if shutil.which("java") is None:
        return "there is no Java, which Spark needs"
    if not (HOME / ".ready").exists():
        log = HOME.with_name("spark.log")
        said = log.read_text("utf-8", "replace").splitlines() if log.exists() else ["make spark"]
        why = [line.strip() for line in said if line.lstrip().startswith("ERROR")][-1:] + said[-1:]
        return f"there is no environment with pyspark: {'; '.join(why)}"
    return None


class Cluster:
    """A master and its workers.

    Args:
        folder: For all that they write.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []
        self.workers: list[subprocess.Popen[bytes]] = []
        (found,) = HOME.glob("lib/python3*/site-packages/pyspark")
        self._home = found
        self._environment = {
            **{
                name: value for name, value in GIVEN.items() if not name.startswith(("STACKONE_", "SPARK_", "PYSPARK_"))
            },
            "SPARK_HOME": str(found),
            "SPARK_LOCAL_IP": "127.0.0.1",
            "SPARK_LOCAL_DIRS": str(folder / "local"),
            "SPARK_DAEMON_MEMORY": "256m",
            "PYTHONPATH": str(ROOT),
            "PYSPARK_PYTHON": str(PYTHON),
            # Each JVM lives for some seconds, in which optimizing and verifying what it loads is most of its cost.
            "JAVA_TOOL_OPTIONS": "-XX:+IgnoreUnrecognizedVMOptions -XX:TieredStopAtLevel=1 -XX:+UseSerialGC "
            "-XX:+UnlockDiagnosticVMOptions -XX:-BytecodeVerificationRemote",
        }
        self.master = ""

    def start(self, workers: int, cores: int) -> None:
        """Start it, and wait until it listens."""
        log = self._daemon("master", "master.Master", "--host", "127.0.0.1", "--port", "0", "--webui-port", "0")
        found = self.wait(lambda: re.search(r"spark://127\.0\.0\.1:\d+", log.read_text("utf-8", "replace")))
        self.master = str(found[0])
        for number in range(workers):
            name = f"worker{number}"
            self._daemon(
                name,
                "worker.Worker",
                *("--host", "127.0.0.1", "--port", "0", "--webui-port", "0"),
                *("--cores", str(cores), "--memory", "1g", "--work-dir", str(self.folder / name), self.master),
            )
            self.workers.append(self._processes[-1])

    def _daemon(self, name: str, kind: str, *arguments: str) -> Path:
        log = self.folder / f"{name}.log"
        command = [str(self._home / "bin" / "spark-class"), f"org.apache.spark.deploy.{kind}", *arguments]
        with log.open("wb") as file:
            self._processes.append(
                subprocess.Popen(
                    command, env=self._environment, cwd=self.folder, stdout=file, stderr=file, start_new_session=True
                )
            )
        return log

    def wait(self, condition: Callable[[], Any], driver: Driver | None = None) -> Any:
        """Return what a condition returns when it is true of anything; skip the test when the time is over."""
        while True:
            found = condition()
            if found:
                return found
            for process in self._processes:
                assert process.poll() is None or process not in self._processes[:1], "the master has ended"
            if driver is not None:
                driver.check()
            if time.monotonic() > _DEADLINE:
                pytest.skip(f"this did not come to an end within {SECONDS:.0f} seconds")
            time.sleep(0.05)

    def run(self, job: str, sandbox: Sandbox, *, environment: Mapping[str, str] | None = None, **given: Any) -> Driver:
        """Start a driver, with more in its environment."""
        events = self.folder / "events"
        events.mkdir(exist_ok=True)
        said = {
            "job": job,
            "master": self.master,
            "events": str(events),
            "folder": str(self.folder),
            "sandbox": described(sandbox),
            **given,
        }
        log = (self.folder / f"{job}-{len(self._processes)}.log").open("wb")
        command = [str(PYTHON), "-m", "tests.spark.driver", json.dumps(said)]
        known = {**self._environment, "FROM_A_SECRET_SCOPE": KEY, **(environment or {})}
        process = subprocess.Popen(
            command,
            env=known,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
        log.close()
        self._processes.append(process)
        return Driver(process, self, Path(log.name))

    def python_workers(self, sandbox: Sandbox) -> list[psutil.Process]:
        """Return the Python processes of executors that talk to a sandbox."""
        port = int(sandbox.url.rpartition(":")[2])
        found: list[psutil.Process] = []
        for worker in self.workers:
            for process in descendants(worker.pid):
                with contextlib.suppress(psutil.Error):
                    talks = any(c.raddr and c.raddr.port == port for c in process.net_connections("tcp"))
                    if talks and process.status() != psutil.STATUS_ZOMBIE:
                        found.append(process)
        return found

    def close(self) -> None:
        """Kill what is left of it."""
        for process in self._processes:
            kill_all(process.pid)
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()


class Driver:
    """A driver that runs, and what it has told.

    Args:
        process: It.
        cluster: Whose it is.
        log: What it says besides.
    """

    def __init__(self, process: subprocess.Popen[bytes], cluster: Cluster, log: Path) -> None:
        self.process, self._cluster, self.log = process, cluster, log
        self.told: dict[str, Any] = {}
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        for line in self.process.stdout or ():
            if line.startswith(b"{"):
                found: Mapping[str, Any] = json.loads(line)
                name = next(iter(found))
                self.told[f"{name} {found[name]}" if name in {"writing", "written", "refusing"} else name] = found

    def check(self) -> None:
        """Fail if it has ended with an error."""
        code = self.process.poll()
        assert code in {None, 0}, self.log.read_text("utf-8", "replace")[-6000:]

    def wait_for(self, name: str) -> Any:
        """Return what it tells of something, when it has told it."""

        def told() -> Any:
            return self.told.get(name)

        return self._cluster.wait(told, self)

    def go_on(self) -> None:
        """Let it do what it has announced."""
        if self.process.stdin is not None:
            self.process.stdin.write(b"\n")
            self.process.stdin.flush()

    def kill(self) -> None:
        """Kill it, with all that it has started."""
        kill_all(self.process.pid)
        self.process.wait()

    def wait(self) -> None:
        """Wait for its end."""
        self._cluster.wait(lambda: self.process.poll() is not None, self)
        self.check()
        self._thread.join()


def described(sandbox: Sandbox) -> dict[str, Any]:
    """Return what a driver needs to know of a sandbox."""
    return {"url": sandbox.url, "accounts": sandbox.account_ids}


def descendants(pid: int) -> Iterator[psutil.Process]:
    """Yield the processes that a process has started, and they again."""
    with contextlib.suppress(psutil.Error):
        yield from psutil.Process(pid).children(recursive=True)


def kill_all(pid: int) -> None:
    """Kill a process and its descendants at one blow."""
    several = [*descendants(pid)]
    with contextlib.suppress(psutil.Error):
        several.insert(0, psutil.Process(pid))
    kill(several)


def kill(several: Iterable[psutil.Process]) -> None:
    """Kill processes, as far as they are there."""
    for process in several:
        with contextlib.suppress(psutil.Error):
            process.send_signal(signal.SIGKILL)
