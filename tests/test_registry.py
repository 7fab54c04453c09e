"""Registries: names are found, listed, and never taken twice."""

import pytest

from wdmoe_env.registry import Registry


class Square:
    pass


def test_entries_are_found_and_listed_in_order():
    shapes = Registry[object]("shape")
    assert shapes.register("square", Square) is Square
    shapes.register("circle", 0)
    assert list(shapes) == ["square", "circle"]
    assert (len(shapes), shapes["circle"], shapes.find("square"), shapes.known("circle")) == (2, 0, Square, "circle")


@pytest.mark.parametrize("name", ["disc", 3, None, ["square"]])
def test_an_unknown_name_lists_what_there_is_and_what_to_do(name):
    shapes = Registry[object]("shape")
    shapes.register("square", Square)
    shapes.register("circle", 0)
    with pytest.raises(ValueError, match=r"shape is .*, expected one of square, circle; .* --plugins"):
        shapes.find(name)


def test_a_name_is_not_taken_twice():
    shapes = Registry[object]("shape")
    shapes.register("square", Square)
    with pytest.raises(ValueError, match="shape 'square' is registered already, expected another name"):
        shapes.register("square", object)
    shapes.register("line", lambda: 1)
    with pytest.raises(ValueError, match="'line' is registered already"):
        shapes.register("line", lambda: 2)
    assert shapes["square"] is Square


def test_a_class_that_is_defined_again_takes_its_own_place():
    shapes = Registry[type]("shape")

    def cell():
        class Oval:
            pass

        return shapes.register("oval", Oval)

    first, second = cell(), cell()
    assert first is not second
    assert shapes["oval"] is second


@pytest.mark.parametrize("name", ["", "a b", "a,b", "a=b", "a/b", "-a", "a:b", 3])
def test_names_that_a_command_line_could_not_tell_are_refused(name):
    with pytest.raises(ValueError, match=r"name of a shape is .*, expected letters, digits"):
        Registry[object]("shape").register(name, Square)
