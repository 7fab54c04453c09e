"""The interactive page: `python -m explorer`."""

from __future__ import annotations

import os
import sys
import webbrowser
from dataclasses import dataclass
from pathlib import Path
from threading import Timer

# Before NumPy is loaded: threads that wait for each other cost small matrices several times what they win.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

MISSING = "the explorer needs {}: pip install 'wdmoe-env[explore]'"

try:
    import tyro
    from werkzeug.serving import WSGIRequestHandler, make_server

    from explorer.library import Library
    from explorer.view import View, ViewError, query
    from explorer.web.app import make_app
    from wdmoe_env.console.output import tolerate_locale
    from wdmoe_env.texts import Language
except ModuleNotFoundError as error:
    print(f"error: {MISSING.format(error.name)}", file=sys.stderr)
    sys.exit(2)


LOOPBACK = frozenset({"localhost"})


@dataclass(frozen=True)
class Options:
    """Open a page to play with a cell: step through a policy's layers, take over, compare with the proven bound."""

    scenario: str = "paper"
    """Preset to begin with; scenario files of the folders can be chosen on the page."""
    folders: tuple[Path, ...] = ()
    """Folders whose runs, results, recordings and scenario files can be opened; by default runs and results, where they
    exist. Nothing else is read."""
    lang: Language = "en"
    """Language of the page."""
    host: str = "127.0.0.1"
    """Address to listen on. Any other than loopback lets everybody in the network look."""
    port: int = 8050
    """Port; 0: any that is free."""
    browser: bool = True
    """Open the page in the browser."""


class Quiet(WSGIRequestHandler):
    """Keeps connections open between requests, and prints only what went wrong."""

    protocol_version = "HTTP/1.1"

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Nothing: there are ten a second."""


def main(arguments: list[str] | None = None) -> int:
    """Serve the page until Ctrl-C, and return the exit code."""
    tolerate_locale()
    options = tyro.cli(Options, args=arguments, prog="python -m explorer")
    try:
        library = Library(options.folders or [path for path in (Path("runs"), Path("results")) if path.is_dir()])
        library.scenario(options.scenario)
        app = make_app(library, View(scenario=options.scenario, lang=options.lang), LOOPBACK | {options.host})
        server = make_server(options.host, options.port, app, threaded=True, request_handler=Quiet)
    except (ValueError, ViewError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (OSError, SystemExit) as error:
        print(f"error: cannot listen on {options.host} port {options.port}: {error}", file=sys.stderr)
        return 2
    name = f"[{options.host}]" if ":" in options.host else options.host
    address = f"http://{name}:{server.server_port}/{query(View(scenario=options.scenario, lang=options.lang))}"
    print(f"{address}\nCtrl-C ends it", flush=True)
    if options.browser:
        Timer(0.5, webbrowser.open, [address]).start()
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print()
    finally:
        server.server_close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
