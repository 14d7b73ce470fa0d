"""Several processes that train together, and a supervisor above each of them."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence

import jax

from experiments.lab.errors import UsageError, require
from experiments.lab.options import Config, Running

_SUPERVISED = "JAXRNN_CHILD"  # set where a supervisor explains the end of a process


def connect(running: Running) -> jax.sharding.Mesh | None:
    """Joins the other processes and lays out the devices, before JAX starts.

    Returns:
      A mesh over the devices of all processes to split a batch over; None for one
      device.

    Raises:
      UsageError: if there are fewer devices than asked for, or the other processes
        cannot be found.
    """
    with contextlib.suppress(RuntimeError):  # too late once JAX has started
        if running.devices > 1:
            jax.config.update("jax_num_cpu_devices", running.devices)
    if running.coordinator is not None:
        _meet(running)
    count = jax.local_device_count()
    if running.devices > count:
        raise UsageError(f"--devices: expected at most {count}, got {running.devices}")
    devices = [
        device
        for process in range(jax.process_count())
        for device in jax.local_devices(process)[: running.devices]
    ]
    return None if len(devices) == 1 else jax.sharding.Mesh(devices, ("batch",))


def _meet(running: Running) -> None:
    """Joins the processes at the coordinator that is named, or that JAX detects."""
    # It would take SIGTERM for itself.
    jax.config.update("jax_enable_preemption_service", False)
    detect = running.coordinator == "auto"
    try:
        jax.distributed.initialize(
            None if detect else running.coordinator,
            running.num_processes,
            running.process_id,
            initialization_timeout=60,
            heartbeat_timeout_seconds=20,
        )
    except Exception as error:
        if not detect:
            count, address = running.num_processes, running.coordinator
            failed = f"the {count} processes did not meet at {address}"
        elif isinstance(error, ValueError):
            failed = (
                "JAX detects no cluster here (Slurm, Open MPI, Kubernetes, Cloud TPU); "
                "give --coordinator host:port, --num-processes and --process-id"
            )
        else:
            failed = "the processes of the cluster that JAX detects did not meet"
        reason = str(error).splitlines()[0]
        raise UsageError(f"--coordinator: {failed}: {reason}") from error


def check_shares(config: Config, mesh: jax.sharding.Mesh | None) -> None:
    """Raises a UsageError unless the devices can share a batch."""
    size, parts = config.train.batch_size, 1 if mesh is None else mesh.size
    expected = f"a multiple of the {parts} devices"
    require(size % parts == 0, "batch_size", expected, size)


def supervised() -> bool:
    """Whether this process has a supervisor."""
    return _SUPERVISED in os.environ


def supervise(argv: Sequence[str]) -> int:
    """Runs this program once more, below this process, and returns its exit status.

    JAX aborts a process at once when another one of the run is lost; the supervisor is
    left to say so.
    """
    spec = sys.modules["__main__"].__spec__
    assert spec is not None  # it was started by python -m
    child = subprocess.Popen(
        [sys.executable, "-m", spec.name.removesuffix(".__main__"), *argv],
        stdin=subprocess.PIPE,
        env={**os.environ, _SUPERVISED: "1"},
        process_group=0,  # Ctrl-C comes once, from here
    )
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, lambda signum, _: child.send_signal(signum))
    status = child.wait()
    if status == -signal.SIGABRT:
        print(
            "error: another process of this run is lost (see above); start them all "
            "again with --resume, as many as you like",
            file=sys.stderr,
        )
        return 1
    return status if status >= 0 else 128 - status


def end_with_supervisor() -> None:
    """Ends this process when its supervisor has gone, even if that was killed."""

    def wait():
        while os.read(sys.stdin.fileno(), 1):
            pass
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
