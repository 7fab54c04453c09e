"""What --on and --jobs name, and what is said where there is no Ray."""

from __future__ import annotations

import ast
import socket
import sys
from pathlib import Path
from types import SimpleNamespace

import cloudpickle
import pytest

import evaluate
from wdmoe_env.workers import in_ray, on_ray, places
from wdmoe_env.workers.processes import LocalPool
from wdmoe_env.workers.units import Line, PoolError, Shared, Unit

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("on", ["spark", "ray://", "ray://host", "host:10001", "ray://host:port", "rays"])
def test_other_places_are_refused(on: str) -> None:
    with pytest.raises(PoolError, match="expected ray, or ray://HOST:PORT"):
        places.check(on, None)


def test_no_fewer_than_one_at_once() -> None:
    with pytest.raises(PoolError, match="--jobs is 0, expected at least 1"):
        places.opened(None, 0)


def test_without_on_it_is_this_machine() -> None:
    places.check("ray", 3)
    places.check("ray://10.0.0.1:10001", None)
    with places.opened(None, 2) as pool:
        assert isinstance(pool, LocalPool)
        assert pool.size == 2


def test_without_ray_it_is_said_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    asked = ["--scenario", "tiny-moe", "--policies", "top-k", "--out", str(tmp_path / "out"), "--on", "ray"]
    assert evaluate.main(asked) == 2
    assert "pip install wdmoe-env[cluster]" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.*"))


def test_one_module_alone_imports_ray() -> None:
    rooms = ("wdmoe_env", "baselines", "agents", "evaluation", "explorer")
    files = [*ROOT.glob("*.py"), *(file for room in rooms for file in (ROOT / room).rglob("*.py"))]
    importers = {
        file.relative_to(ROOT).as_posix()
        for file in files
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Import) and any(name.name.partition(".")[0] == "ray" for name in node.names)
    }
    assert importers == {"wdmoe_env/workers/in_ray.py"}


def test_a_node_with_another_version_is_refused_before_a_unit_runs() -> None:
    setup = in_ray.Setup({**in_ray._versions(), "numpy": "1.0"}, "", ())
    with pytest.raises(PoolError, match=r"numpy is \S+ on node \S+, expected 1.0 as here"):
        in_ray._ready(cloudpickle.dumps(setup))


def test_modules_of_ones_own_travel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WDMOE_PLUGINS", "")
    setup = in_ray.Setup(in_ray._versions(), "travelled_module", (("travelled_module.py", b"HERE = True\n"),))
    monkeypatch.setattr(sys, "path", [*sys.path])
    in_ray._ready(cloudpickle.dumps(setup))
    assert sys.modules["travelled_module"].HERE


def test_the_post_keeps_what_is_said_until_it_is_fetched() -> None:
    post = in_ray.Post()
    post.say("one", "told", b"1")
    assert post.take() == [("one", "told", b"1")]
    assert post.take() == []
    assert post.answered("one") is None
    post.answer("one", b"yes")
    assert post.answered("one") == b"yes"
    assert post.answered("one") is None
    assert post.stopped() is None
    post.stop("SIGTERM")
    assert post.stopped() == "SIGTERM"


class Remote:
    """An actor's handle that runs its methods here."""

    def __init__(self, actor: object) -> None:
        self._actor = actor

    def __getattr__(self, name: str) -> SimpleNamespace:
        return SimpleNamespace(remote=getattr(self._actor, name))


def converse(line: Line, number: int, shared: int) -> tuple[int, str | None]:
    line.tell(number)
    return line.ask(shared), line.stop()


def test_a_task_brings_what_its_unit_brings_and_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WDMOE_PLUGINS", "")
    monkeypatch.setattr(in_ray, "ray_module", lambda: SimpleNamespace(get=lambda value: value))
    post, setup = in_ray.Post(), cloudpickle.dumps(in_ray.Setup.here())
    post.answer("one", cloudpickle.dumps(42))
    post.stop("SIGTERM")
    packed = cloudpickle.dumps(Unit("one", converse, (1, Shared(0)), talks=True))
    assert cloudpickle.loads(in_ray.run_task(setup, Remote(post), packed, cloudpickle.dumps(2))) == (
        "done",
        (42, "SIGTERM"),
    )
    said = [(unit, kind, cloudpickle.loads(value)) for unit, kind, value in post.take()]
    assert said == [("one", "told", 1), ("one", "asked", 2)]


def test_a_cluster_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise ConnectionError("nobody answers\nat length")

    monkeypatch.setattr(on_ray, "ray_module", lambda: SimpleNamespace(init=refuse))
    monkeypatch.setenv(places.ADDRESS, "10.0.0.1:6379")
    with pytest.raises(PoolError, match=r"no Ray cluster at 10.0.0.1:6379: nobody answers; is it there"):
        places.opened("ray", None)
    monkeypatch.delenv(places.ADDRESS)
    with pytest.raises(PoolError, match=r"no Ray cluster at this machine: nobody answers$"):
        places.opened("ray", 1)


def test_a_wheel_is_installed_everywhere_and_a_checkout_travels(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    code = on_ray._code()
    assert code["working_dir"] == str(ROOT)
    assert "/tests" in code["excludes"]
    assert not {"/train.py", "/agents", "/wdmoe_env"} & set(code["excludes"])
    monkeypatch.setattr(on_ray, "HOME", tmp_path / "wdmoe_env")
    assert set(on_ray._code()) == {"env_vars"}


class Lonely(on_ray.RayPool):
    """A pool whose cluster has just gone; nothing of Ray is needed to find that out."""

    def __init__(self, head: tuple[str, int]) -> None:
        self._head, self._seen, self._silent_since = head, 0.0, None


def test_a_head_that_does_not_answer_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        pool = Lonely(server.getsockname())
        pool._look()
    assert pool._silent_since is None
    pool._seen = 0.0
    for moment in (100.0, 105.0):
        monkeypatch.setattr(on_ray.time, "monotonic", lambda moment=moment: moment)
        pool._look()
    assert pool._silent_since == 100.0
    monkeypatch.setattr(on_ray.time, "monotonic", lambda: 111.0)
    with pytest.raises(PoolError, match=r"the Ray cluster is lost: 127.0.0.1:\d+: "):
        pool._look()
