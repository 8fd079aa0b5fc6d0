import base64
import hashlib
import json
import re

import pytest
from jinja2 import UndefinedError
from markupsafe import Markup

from imagenet_trainer.viz.html import data_uri, percent, render, thousands

EVIL = '</script><script>alert(1)</script><!-- & "'


def test_text_is_escaped_and_data_cannot_end_their_element():
    page = render("page.html", title=EVIL, script=Markup("run();"), data={"name": EVIL})
    assert page.count("<script") == 2 and page.count("</script>") == 2
    assert "<!--" not in page and "<title>&lt;/script&gt;" in page
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert json.loads(data[1]) == {"name": EVIL}


def test_only_the_script_of_the_page_may_run():
    page = render("page.html", title="a", script=Markup("run();"))
    digest = base64.b64encode(hashlib.sha256(b"run();").digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page and "default-src 'none'" in page
    assert "<script>run();</script>" in page
    assert "script-src 'none'" in render("page.html", title="a")


def test_a_missing_variable_is_an_error():
    with pytest.raises(UndefinedError, match="title"):
        render("page.html")


def test_numbers_and_files():
    assert percent(0.12345) == "12.35\u00a0%" and percent(0.5, 0) == "50\u00a0%"
    assert thousands(1234567) == "1,234,567"
    assert data_uri(b"abc", "image/png") == "data:image/png;base64,YWJj"
