"""What is compiled in and what users are told are one table."""
from foliosim._core.policy import NUMBERS, compiled_alternatives
from foliosim.policy import POINTS, PRESETS


def test_alternatives_are_those_compiled():
    assert {name: set(point.names) for name, point in POINTS.items()} == {
        name: set(names) for name, names in compiled_alternatives().items()}


def test_presets_choose_known_alternatives():
    for choices in PRESETS.values():
        assert set(choices) == set(POINTS)
        assert all(answer in POINTS[point].names for point, answer in choices.items())


def test_the_oracle_chooses_every_bound():
    bounds = {(name, one.name) for name, point in POINTS.items() for one in point.alternatives if "the bound" in one.source}
    assert bounds and bounds <= set(PRESETS["oracle"].items())


def test_numbers_have_one_range():
    told = {(name, one.name): one.number[1:] for name, point in POINTS.items() for one in point.alternatives if one.number}
    assert {key: told[key] for key in NUMBERS} == NUMBERS
