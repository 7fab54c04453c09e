"""The web application: one page, and what it asks for; every request says a whole view, and changes nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from flask import Flask, Response, abort, render_template, request
from plotly.offline import get_plotlyjs

from explorer.cells.lab import Lab
from explorer.library import Library
from explorer.view import PANES, View, ViewError, parse, query
from explorer.web import export, folders
from explorer.web.drawing import Drawing
from wdmoe_env.texts import LANGUAGES, load_texts
from wdmoe_env.version import __version__

TEXTS: Final = Path(__file__).parents[1] / "texts"
POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self' 'unsafe-inline'",  # Plotly styles what it draws
        "img-src 'self' data: blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
WEEK_S: Final = 7 * 24 * 3600
Answer = Callable[[], Response]


def make_app(library: Library, start: View, hosts: frozenset[str]) -> Flask:
    """The application.

    Args:
        library: what may be opened.
        start: what a link that says nothing shows.
        hosts: names that a browser may call this machine by, besides addresses; others are refused, so that no foreign
            page that has its name point here can read from it.
    """
    app = Flask(__name__)
    lab = Lab(library)
    texts = {language: load_texts(TEXTS, language) for language in LANGUAGES}

    @app.before_request
    def check_host() -> None:
        if not _is_here(request.host, hosts):
            abort(403, f"this page is not served to {request.host!r:.80}")

    @app.after_request
    def protect(response: Response) -> Response:
        response.headers["Content-Security-Policy"] = POLICY
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        return response

    def asked() -> View:
        said = request.query_string.decode("ascii", "replace")
        return parse(said) if said else start

    def drawing() -> Drawing:
        view = asked()
        return Drawing(view, lab, texts[view.lang])

    def told(answer: Answer) -> Answer:
        @wraps(answer)
        def checked() -> Response:
            try:
                return answer()
            except ViewError as error:
                return _json({"error": str(error)}, 400)
            except Exception as error:  # the page goes on, and whoever started it sees where it came from
                app.logger.exception("%s", request.full_path)
                return _json({"error": f"a bug, please report it: {type(error).__name__}: {error}"}, 500)

        return checked

    @app.get("/")
    def page() -> Response:
        fault, view = "", start
        try:
            view = asked()
        except ViewError as error:
            fault = str(error)
        return Response(_page(view, fault, library, texts[view.lang]))

    @app.get("/plotly.js")
    def plotly() -> Response:
        return Response(get_plotlyjs(), mimetype="text/javascript", headers={"Cache-Control": f"max-age={WEEK_S}"})

    @app.get("/draw")
    @told
    def draw() -> Response:
        return _json(drawing().answer())

    @app.get("/course")
    @told
    def course() -> Response:
        return _json(drawing().course())

    @app.get("/folder")
    @told
    def folder() -> Response:
        view = folders.first_opened(asked(), library)
        return _json(folders.answer(view, library, texts[view.lang]))

    @app.get("/view.json")
    @told
    def as_json() -> Response:
        found = drawing()
        said = {"version": __version__, "link": query(found.view), **found.record()}
        return _file(json.dumps(said, indent=1, allow_nan=False).encode(), "application/json", "view.json")

    @app.get("/view.png")
    @told
    def as_png() -> Response:
        return _file(export.png(drawing()), "image/png", "view.png")

    @app.get("/view.gif")
    @told
    def as_gif() -> Response:
        return _file(export.gif(drawing()), "image/gif", "episode.gif")

    return app


def _is_here(said: str, hosts: frozenset[str]) -> bool:
    """Whether a browser calls this machine by an address, which nobody can point elsewhere, or by one of its names."""
    try:
        name = urlsplit(f"//{said}").hostname or ""
    except ValueError:  # half a bracket
        return False
    try:
        ip_address(name)
    except ValueError:
        return name in hosts
    return True


def _page(view: View, fault: str, library: Library, texts: dict[str, str]) -> str:
    other = next(language for language in LANGUAGES if language != view.lang)
    shared: dict[str, Any] = {
        "fault": fault,
        "texts": texts,
        "panes": PANES,
        "other": other,
        "links": {pane: query(View(lang=view.lang, pane=pane)) for pane in PANES},
        "version": __version__,
    }
    if view.pane != "cell":
        view = folders.first_opened(view, library)
        shared["items"] = folders.items(view, library)
        return render_template("folder.html", view=view, in_other=query(replace(view, lang=other)), **shared)
    return render_template(
        "cell.html",
        view=view,
        in_other=query(replace(view, lang=other)),
        scenarios=library.scenarios(),
        policies=library.policies(view.scenario),
        **shared,
    )


def _json(data: Any, status: int = 200) -> Response:
    return Response(json.dumps(data, separators=(",", ":"), allow_nan=False), status, mimetype="application/json")


def _file(blob: bytes, kind: str, name: str) -> Response:
    return Response(blob, mimetype=kind, headers={"Content-Disposition": f'attachment; filename="{name}"'})
