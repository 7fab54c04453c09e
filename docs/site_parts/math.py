"""Formulas as pictures that Matplotlib draws, in the page itself: no script, no network."""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Callable
from html import escape
from typing import Any, Final

from docutils import nodes

NAME: Final = "drawn"
SIZE: Final = 12.0
"""Points that a formula is drawn in; in the page it takes the size of the text around it."""
SPELLED: Final[tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...]] = (
    (r"\\Big/", " / "),
    (r"\\text\s*\{([^}]*)\}", lambda found: r"\ \mathrm{" + found[1].strip().replace(" ", r"\ ") + r"}\ "),
    (r"\\ge\b", r"\\geq"),
    (r"\\le\b", r"\\leq"),
    (r"\\quad", r"\\ \\ \\ "),
    (r"&", ""),
)
"""What TeX knows and Matplotlib does not, and what to write for it."""


def drawn(formula: str) -> str:
    """One line of TeX as SVG in the colour of the text around it, with the TeX for who cannot see it.

    Raises:
        ValueError: Matplotlib does not understand it.
    """
    from matplotlib import mathtext, rc_context

    tex = " ".join(formula.split())
    text = tex
    for pattern, replacement in SPELLED:
        text = re.sub(pattern, replacement, text)
    file = io.BytesIO()
    clear = {"figure.facecolor": "none", "savefig.facecolor": "none"}
    with rc_context(
        {"svg.fonttype": "path", "mathtext.fontset": "cm", "font.size": SIZE, "svg.hashsalt": tex, **clear}
    ):
        depth = mathtext.math_to_image(f"${text}$", file, dpi=72, format="svg")
    return _in_page(file.getvalue().decode(), tex, depth / SIZE)


def _in_page(picture: str, tex: str, depth: float) -> str:
    """A picture as a part of a page: names of its own, sizes in units of the text, no prologue.

    Args:
        picture: SVG, as Matplotlib writes it.
        tex: what it shows.
        depth: what hangs below the line, em.
    """
    key = f"m{zlib.crc32(tex.encode()):x}-"
    picture = re.sub(
        r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", picture[picture.index("<svg") :], flags=re.DOTALL
    )
    picture = picture.replace('id="', f'id="{key}').replace('href="#', f'href="#{key}')
    wide, high = (float(found) / SIZE for found in re.findall(r'(?:width|height)="([\d.]+)pt"', picture)[:2])
    picture = re.sub(r'(?:width|height)="[\d.]+pt" ?', "", picture, count=2)
    style = f"width: {wide:.3f}em; height: {high:.3f}em; vertical-align: {-depth:.3f}em"
    label = escape(tex, quote=True)
    return picture.replace("<svg", f'<svg role="img" aria-label="{label}" class="formula" style="{style}"', 1)


def _inline(writer: Any, node: nodes.math) -> None:
    writer.body.append(f'<span class="math">{drawn(node.astext())}</span>')
    raise nodes.SkipNode


def _block(writer: Any, node: nodes.math_block) -> None:
    lines = [line for line in re.split(r"\\\\", node.astext()) if line.strip()]
    writer.body.append(f'<div class="math" tabindex="0">{"<br>".join(map(drawn, lines))}</div>')
    raise nodes.SkipNode


def setup(app: Any) -> None:
    """Let HTML have formulas so."""
    app.add_html_math_renderer(NAME, (_inline, None), (_block, None))
