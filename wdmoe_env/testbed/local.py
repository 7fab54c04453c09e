"""Devices on this machine: processes that listen on loopback, and end with whoever started them."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from wdmoe_env.testbed import keys
from wdmoe_env.testbed.kernel import KernelLinks

START_S: Final = 60.0
"""Seconds that a device has to load its experts and listen."""
SAYS: Final = "listening at "


class LocalDevices:
    """A process for each device, with a key of their own.

    Args:
        model: folder of the model.
        experts: of each device.
        links: namespaces of their own that they are to run in; None: loopback.
    """

    def __init__(self, model: Path, experts: Sequence[Sequence[int]], links: KernelLinks | None = None) -> None:
        self._links = links
        self._folder = tempfile.TemporaryDirectory(prefix="wdmoe-testbed-")
        self.key_file = Path(self._folder.name) / "key"
        keys.write_key(self.key_file)
        self.key = keys.read_key(self.key_file)
        self._model, self._experts = model, [list(own) for own in experts]
        self.processes: list[subprocess.Popen[str]] = []
        self.addresses: list[tuple[str, int]] = []

    def start(self) -> list[tuple[str, int]]:
        """Start all and return where they listen.

        Raises:
            RuntimeError: one ends, or does not listen in time; with what it said.
        """
        self.processes = [self._launch(device, 0) for device in range(len(self._experts))]
        self.addresses = [self._address(device) for device in range(len(self.processes))]
        return self.addresses

    def restart(self, device: int, key: Path | None = None, model: Path | None = None) -> None:
        """End a device and start it again where it listened before; with another key or model, to see it refused.

        Raises:
            RuntimeError: as `start`.
        """
        self._end(self.processes[device])
        self.processes[device] = self._launch(device, self.addresses[device][1], key, model)
        self._address(device)

    def _launch(
        self, device: int, port: int, key: Path | None = None, model: Path | None = None
    ) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "wdmoe_env.testbed", "device", "--model", str(model or self._model)]
        host, enter = (
            ("127.0.0.1", None) if self._links is None else (self._links.host(device), self._links.enter(device))
        )
        command += ["--experts", ",".join(map(str, self._experts[device])), "--listen", f"{host}:{port}"]
        command += ["--key", str(key or self.key_file), "--name", f"local {device}", "--with-parent"]
        # Of as many processes as devices each computes with one thread.
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        return subprocess.Popen(  # noqa: S603 - our own module
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
            preexec_fn=enter,
        )

    def _address(self, device: int) -> tuple[str, int]:
        process, until, said = self.processes[device], time.monotonic() + START_S, list[str]()
        assert process.stdout is not None
        while (left := until - time.monotonic()) > 0.0:
            if not select.select([process.stdout], [], [], left)[0]:
                break
            if not (line := process.stdout.readline()):
                break
            if SAYS in line:
                host, _, port = line.split(SAYS)[1].split()[0].rpartition(":")
                return host, int(port)
            said.append(line.strip())
        self.stop()
        raise RuntimeError(f"local device {device} does not listen: {' '.join(said)[-600:] or 'it said nothing'}")

    def stop(self) -> None:
        """End all."""
        for process in self.processes:
            process.kill()
        for process in self.processes:
            self._end(process)
        self.processes = []
        self._folder.cleanup()

    @staticmethod
    def _end(process: subprocess.Popen[str]) -> None:
        process.kill()
        process.wait(10.0)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()

    def __enter__(self) -> LocalDevices:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()
