"""Pictures are the same whatever was drawn before, the same as if all were drawn anew, and as matplotlib draws them."""

import io

import matplotlib as mpl
import numpy as np
import pytest
from support.toy import SMALL, preset, random_decision

from wdmoe_env import Simulator
from wdmoe_env.render import Renderer, Scene

pytest.importorskip("matplotlib")

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from wdmoe_env.render.cell_map import OUTLINE
from wdmoe_env.render.label import Label
from wdmoe_env.render.legend import SideLegend, area
from wdmoe_env.render.scale import Scale
from wdmoe_env.render.style import FAINT, INK, quiet
from wdmoe_env.render.token_map import Mosaic


def scenes(name, steps):
    """Return the scene before the first step, and those of some random steps."""
    scenario = preset(name)
    simulator, rng = Simulator(scenario), np.random.default_rng(1)
    simulator.reset(0)
    taken = [Scene.now(simulator)]
    for _ in range(steps):
        before, decision = Scene.now(simulator), random_decision(scenario, 1, rng)
        taken.append(before.after(decision, simulator.step(decision)))
    return taken


def drawn(add, size=(4.0, 2.0)):
    """Return the picture of a figure that `add` puts something into."""
    with mpl.rc_context({"text.parse_math": False}):
        figure = Figure(figsize=size, dpi=100)
        canvas = FigureCanvasAgg(figure)
        add(figure)
        canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, :3].astype(int)


def ink(picture):
    """Return how dark it is, over squares of four pixels: a shift of half a pixel shows little in it."""
    height, width = picture.shape[:2]
    return 255 - picture.mean(axis=2).reshape(height // 4, 4, width // 4, 4).mean(axis=(1, 3))


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_a_scene_is_drawn_the_same_whatever_was_drawn_before(name):
    before, first, second, _ = scenes(name, 3)
    renderer, other = Renderer(), Renderer()
    other.draw(scenes("mobile", 1)[-1])
    pictures = [renderer.draw(scene) for scene in (first, second, first, before, first)]
    np.testing.assert_array_equal(pictures[0], pictures[2])
    np.testing.assert_array_equal(pictures[0], pictures[4])
    assert (pictures[0] != pictures[1]).any()
    np.testing.assert_array_equal(pictures[3], Renderer().draw(before))


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_a_picture_upon_the_background_is_the_one_that_is_drawn_as_a_whole(name):
    renderer = Renderer()
    for scene in scenes(name, 3):
        picture = renderer.draw(scene)
        for artist in renderer._panels.changing:
            artist.set_animated(False)
        canvas = renderer._figure.canvas
        with mpl.rc_context({"text.parse_math": False}):
            canvas.draw()
        np.testing.assert_array_equal(picture, np.asarray(canvas.buffer_rgba())[:, :, :3])


@pytest.mark.parametrize("text", ["12.3 ms", "layer 10 of 32", "$5 and $6", "\n\nload 20%", "\N{MINUS SIGN}43 %"])
@pytest.mark.parametrize(("ha", "va"), [("left", "center"), ("right", "baseline"), ("center", "top")])
@pytest.mark.parametrize("effects", [[], OUTLINE], ids=["plain", "outlined"])
def test_a_label_looks_like_a_text(text, ha, va, effects):
    style = {"ha": ha, "va": va, "fontsize": 11, "color": INK, "path_effects": effects}
    label = drawn(lambda figure: figure.add_artist(Label(0.503, 0.507, text, transform=figure.transFigure, **style)))
    plain = drawn(lambda figure: figure.text(0.503, 0.507, text, **style))
    assert ink(plain).max() > 50
    assert np.abs(ink(label) - ink(plain)).max() < 40
    assert ink(label).sum() == pytest.approx(ink(plain).sum(), rel=0.03)


def test_a_label_is_text_where_a_file_can_hold_some():
    figure, file = Figure(), io.StringIO()
    figure.add_artist(Label(0.5, 0.5, "12.3 ms", transform=figure.transFigure))
    with mpl.rc_context({"svg.fonttype": "none"}):
        figure.savefig(file, format="svg")
    assert ">12.3 ms<" in file.getvalue()


def test_a_blank_or_hidden_label_is_nothing():
    def add(figure):
        figure.add_artist(Label(0.5, 0.5, "  ", transform=figure.transFigure))
        figure.add_artist(Label(0.5, 0.5, "text", transform=figure.transFigure, visible=False))

    assert (drawn(add) == 255).all()


@pytest.mark.parametrize("limit", [0.015, 0.8, 3.0, 150.0, 2e6])
def test_a_scale_looks_like_an_axis(limit):
    def ours(figure):
        axes = figure.add_axes((0.3, 0.1, 0.6, 0.8), frameon=False, xticks=[])
        quiet(axes)
        Scale(axes).set_limit(limit)

    def theirs(figure):
        axes = figure.add_axes((0.3, 0.1, 0.6, 0.8), frameon=False, xticks=[], ylim=(0.0, limit))
        quiet(axes)
        axes.ticklabel_format(useOffset=False, style="plain")
        axes.grid(axis="y", color=FAINT, linewidth=0.8)

    assert np.abs(ink(drawn(ours)) - ink(drawn(theirs))).max() < 30


def test_a_legend_looks_like_matplotlibs():
    line = {"color": "red", "linewidth": 1.3}

    def ours(figure):
        legend = SideLegend(figure.add_axes((0.1, 0.1, 0.8, 0.6)), [area("blue"), Line2D([], [], **line)], ["", ""])
        legend.set_labels("one: 12", "two")

    def theirs(figure):
        axes = figure.add_axes((0.1, 0.1, 0.8, 0.6))
        axes.legend([Patch(facecolor="blue"), Line2D([], [], **line)], ["one: 12", "two"], loc="lower right",
                    bbox_to_anchor=(1.0, 1.0), ncols=2, frameon=False, fontsize=8.5, labelcolor=INK, borderaxespad=0.1,
                    handlelength=1.4, columnspacing=1.4)  # fmt: skip

    assert np.abs(ink(drawn(ours)) - ink(drawn(theirs))).max() < 30


@pytest.mark.parametrize(("rows", "columns"), [(8, 64), (64, 256), (3, 5)])
def test_a_mosaic_looks_like_an_image(rows, columns):
    colours = np.ones((rows, columns, 4))
    colours[:, :, :3] = np.random.default_rng(0).random((rows, columns, 3))

    def ours(figure):
        axes = figure.add_axes((0.065, 0.06, 0.915, 0.215))
        axes.axis("off")
        Mosaic(axes).set_colours(colours)

    def theirs(figure):
        axes = figure.add_axes((0.065, 0.06, 0.915, 0.215))
        axes.axis("off")
        axes.imshow(colours, aspect="auto", interpolation="nearest", interpolation_stage="rgba")

    differs = np.abs(drawn(ours, (12.8, 8.0)) - drawn(theirs, (12.8, 8.0))).max(axis=2) > 1
    assert differs.mean() < 0.002  # centres of pixels that lie on an edge
