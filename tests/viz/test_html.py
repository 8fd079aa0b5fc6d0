import base64
import hashlib
import json
import re

from imagenet_trainer.viz.html import data_uri, document, section, tile_row

EVIL = '</script><script>alert(1)</script><!-- & "'


def test_text_is_escaped_and_data_cannot_end_their_element():
    page = document(EVIL, "<p>body</p>", "b{}", "run();", {"name": EVIL})
    assert page.count("<script") == 2 and page.count("</script>") == 2
    assert "<!--" not in page and "<title>&lt;/script&gt;" in page
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert json.loads(data[1]) == {"name": EVIL}


def test_only_its_own_script_may_run():
    page = document("a", "", script="run();")
    digest = base64.b64encode(hashlib.sha256(b"run();").digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page and "default-src 'none'" in page
    assert "script-src 'none'" in document("a", "")


def test_parts():
    assert section("A", "b", "c") == "<section id='c'><h2>A</h2>b</section>"
    assert tile_row([("1", "one", "warn")]).count("tile warn") == 1
    assert data_uri(b"abc", "image/png") == "data:image/png;base64,YWJj"
