"""The parent's side of a worker process: ask, wait, and survive what it does."""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

ROOT = Path(__file__).parent.parent.parent


class WorkerError(Exception):
    """A worker did not answer with a result.

    Args:
      status: "crashed", "hung", or what the worker itself answered.
      reason: in words.
    """

    def __init__(self, status: str, reason: str):
        super().__init__(f"{status}: {reason}")
        self.status, self.reason = status, reason


class Asked(Protocol):
    """What `measure` needs of a worker."""

    name: str

    def ask(self, what: str, /, **arguments: Any) -> dict[str, Any]:
        """Returns the answer, or raises `WorkerError`."""
        ...


class Worker:
    """One process, started when first asked and started again after a crash.

    Args:
      name: in reports.
      module: of the system.
      devices: host devices (JAX) or threads (torch).
      platform: "cpu", "gpu" or "tpu".
      timeout: seconds to wait for an answer.
      path: a folder whose packages are imported rather than those of this checkout.
      variables: of the environment, set before the system is imported.
    """

    def __init__(
        self,
        name: str,
        module: str,
        devices: int,
        platform: str,
        timeout: float,
        path: Path | None = None,
        variables: Mapping[str, str] | None = None,
    ):
        self.name, self.timeout = name, timeout
        self._command = [sys.executable, "-m", "benchmarks.process.worker"]
        self._command += [module, str(devices), platform]
        self._env = environment(devices, platform, path) | dict(variables or {})
        self._process: subprocess.Popen[str] | None = None
        self._answers: queue.Queue[str | None] = queue.Queue()
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115

    def start(self) -> None:
        """Starts the process, without waiting until it is ready."""
        self._answers = queue.Queue()
        self._errors.seek(0)
        self._errors.truncate()
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            cwd=ROOT,
            env=self._env,
            start_new_session=True,  # Ctrl-C is the parent's to handle
        )
        self._listener = threading.Thread(
            target=_listen, args=(self._process, self._answers), daemon=True
        )
        self._listener.start()
        self._send("hello")

    def ready(self) -> dict[str, Any]:
        """Waits until the system is imported."""
        if self._process is None:
            self.start()
        return self._receive()

    def ask(self, what: str, /, **arguments: Any) -> dict[str, Any]:
        """Returns the answer, or raises `WorkerError`."""
        if self._process is None:
            self.ready()
        self._send(what, **arguments)
        return self._receive()

    def _send(self, what: str, **arguments: Any) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # a dead one shows when it does not answer
            self._process.stdin.write(json.dumps({"ask": what} | arguments) + "\n")
            self._process.stdin.flush()

    def _receive(self) -> dict[str, Any]:
        try:
            line = self._answers.get(timeout=self.timeout)
        except queue.Empty:
            self.stop()
            raise WorkerError("hung", f"no answer for {self.timeout:g} s") from None
        if line is None:
            code, last = self.stop(grace=5), self._last_words()
            raise WorkerError("crashed", f"exit status {code}: {last}")
        answer = json.loads(line)
        if answer["status"] != "ok":
            raise WorkerError(answer["status"], answer["reason"])
        return answer

    def _last_words(self) -> str:
        self._errors.seek(0)
        lines = [line.strip() for line in self._errors.read().splitlines()]
        # A stack trace follows the message that matters.
        said = [line for line in lines if line and not line.startswith(("@", "***"))]
        return said[-1][:500] if said else "it printed nothing"

    def close(self) -> None:
        """Ends the process for good."""
        self.stop()
        self._errors.close()

    def stop(self, grace: float = 0.0) -> int | None:
        """Ends the process and all that it started; returns its exit status.

        `grace` is how many seconds a process that is ending by itself may take.
        """
        process, self._process = self._process, None
        if process is None:
            return None
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(OSError):
            process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(grace)
        with contextlib.suppress(OSError):
            if hasattr(os, "killpg"):
                os.killpg(process.pid, signal.SIGKILL)
            else:  # Windows has no groups of processes
                process.kill()
        code = process.wait()
        self._listener.join()
        process.stdout.close()
        return code


def _listen(process: Any, answers: Any) -> None:
    for line in process.stdout:
        answers.put(line)
    answers.put(None)


def environment(
    devices: int, platform: str, path: Path | None = None
) -> dict[str, str]:
    """The settings of a worker that have to be made before its library is imported."""
    env = dict(os.environ)
    env |= {
        "KERAS_BACKEND": "jax",
        "JAX_ENABLE_COMPILATION_CACHE": "false",
        "JAX_PLATFORMS": {"gpu": "cuda", "tpu": "tpu"}.get(platform, "cpu"),
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        "TF_CPP_MIN_LOG_LEVEL": "2",
    }
    if platform == "cpu":
        env["JAX_NUM_CPU_DEVICES"] = str(devices)
    if path is not None:
        # The folder of the process would come before all others.
        env["PYTHONSAFEPATH"] = "1"
        others = [env["PYTHONPATH"]] if env.get("PYTHONPATH") else []
        env["PYTHONPATH"] = os.pathsep.join([str(path), str(ROOT), *others])
    return env


def gather(workers: list[Worker], on_ready: Callable[[Worker, dict], None]) -> None:
    """Starts all at once, and reports each: its answer, or how it failed."""
    for worker in workers:
        worker.start()
    for worker in workers:
        try:
            on_ready(worker, worker.ready())
        except WorkerError as error:
            worker.stop()
            on_ready(worker, {"status": error.status, "reason": error.reason})
