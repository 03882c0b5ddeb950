"""The frame of all pages: one head, one policy, and nothing that no file can hold."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import jinja2

import espalier.report
from espalier.report.layout import environment, ours, page_of

TEMPLATES = Path(espalier.report.__file__).parent / "templates"
PAGE = """{% extends "frame.html" %}
{% macro told(text) %}<p>{{ text }}</p>{% endmacro %}
{% block title %}{{ name }}{% endblock %}
{% block body %}
{{ told(name) }}
{% endblock %}
"""


def pages() -> jinja2.Environment:
    made = environment({})
    assert made.loader
    made.loader = jinja2.ChoiceLoader([jinja2.DictLoader({"one.html": PAGE}), made.loader])
    return made


def test_every_page_stands_in_the_frame() -> None:
    heads = [file.name for file in TEMPLATES.glob("*.html") if "<head>" in file.read_text()]
    assert heads == ["frame.html"]


def test_a_page_runs_no_script_but_ours_and_holds_no_halves_of_characters() -> None:
    page = page_of(pages(), "one.html", {"name": "a\ud800 <b>\0"})
    assert "<title>a\ufffd &lt;b&gt;\ufffd</title>" in page
    assert "<p>a\ufffd &lt;b&gt;\ufffd</p>" in page
    assert page.encode()
    assert "script-src" not in page
    scripted = page_of(pages(), "one.html", {"name": "a"}, "browse.js")
    key = base64.b64encode(hashlib.sha256(ours("browse.js").encode()).digest()).decode()
    assert f"script-src 'sha256-{key}'" in scripted
    assert ours("report.css") in scripted
