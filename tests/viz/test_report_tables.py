import math

from imagenet_trainer.viz.report_tables import EMPTY, Cell, number, percent, percent_with_interval


def test_numbers_have_separators_and_are_sorted_by_value():
    assert number(1234567) == Cell("1,234,567", value=1234567)
    assert number(0.12345, 3).text == "0.123"


def test_unknown_shares_are_empty():
    assert percent(None) == percent(math.nan) == EMPTY
    assert percent_with_interval((math.nan, 0, 0)) == EMPTY
    assert percent(0.1234) == Cell("12.3\u00a0%", value=0.1234)


def test_an_interval_follows_its_share():
    assert percent_with_interval((0.5, 0.41, 0.594)) == Cell("50.0\u00a0%", "41–59", 0.5)
