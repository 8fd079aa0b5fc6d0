"""Contact sheets."""

import numpy as np

from imagenet_trainer.viz.audit_sheet import draw_sheet


def test_names_are_drawn_in_the_letters_of_many_languages():
    """Letters that a font lacks all look the same."""
    tile = np.zeros((9, 9, 3), np.uint8)
    sheets = {draw_sheet([(tile, letter, "", "")], "").tobytes() for letter in "éüßЖЩψ"}
    assert len(sheets) == 6
