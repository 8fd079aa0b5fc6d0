import math

from imagenet_trainer.viz.report_tables import Column, number, percent, percent_with, table


def test_numbers_are_sorted_by_their_values():
    cell = number(1234567)
    assert cell == "1,234,567" and cell.value == 1234567
    assert number(0.12345, 3) == "0.123"
    html = table("t", [Column("name", words=True), Column("share")], [["a", percent(0.1234)]])
    assert '<td class="word">a</td><td data-value="0.1234">12.3\u00a0%</td>' in html
    assert '<th scope="col" class="word"><button type="button">name</button></th>' in html


def test_what_is_unknown_is_empty():
    assert percent(None) == percent(math.nan) == percent_with(math.nan, 0, 0) == ""
    assert "<td></td>" in table("t", [Column("share")], [[percent(None)]])


def test_intervals_stand_beside_their_share():
    cell = percent_with(0.5, 0.41, 0.594)
    assert cell == "50.0\u00a0% <small>41–59</small>" and cell.value == 0.5


def test_a_table_can_be_searched_and_scrolled_by_keyboard():
    html = table("Classes", [Column("a")], [], searched=True)
    assert 'data-searched="1"' in html and 'tabindex="0" role="region" aria-label="Classes"' in html
    assert "data-searched" not in table("Classes", [Column("a")], [])
