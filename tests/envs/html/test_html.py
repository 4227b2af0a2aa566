"""The HTML kit: text is escaped, nothing is left out silently, drawings and axes have the numbers they were given."""

from __future__ import annotations

import re
import sys

import jinja2
import numpy as np
import pytest

import tgrpo_envs.html
from tgrpo_envs.html import Markup, render
from tgrpo_envs.html.timeline import Row, area, band, bars, drawing, line, stretches, ticks

ATTACK = "</style><script>alert(1)</script>"


def page(**values: object) -> str:
    return render("tgrpo_envs.html", "page.html", title="a", subtitle="b", **values)


def part(name: str, *arguments: object) -> str:
    """What a macro of the kit writes."""
    template = tgrpo_envs.html._environment("tgrpo_envs.html").get_template("parts.html")
    return str(getattr(template.module, name)(*arguments))


def test_text_is_escaped_and_drawings_are_not() -> None:
    text = render("tgrpo_envs.html", "page.html", title=ATTACK, subtitle="x < y & z")
    assert "<script>" not in text and "x &lt; y &amp; z" in text
    table = part("table", [ATTACK], [(ATTACK, Markup("<b>bold</b>"))])
    assert "<script>" not in table and "<td><b>bold</b></td>" in table


def test_a_value_that_is_missing_is_an_error() -> None:
    with pytest.raises(jinja2.UndefinedError, match="subtitle"):
        render("tgrpo_envs.html", "page.html", title="a")


def test_a_page_needs_nothing_from_outside() -> None:
    assert not re.search(r"(?:src|href|url)\s*[=(]", page())


def test_stretches_are_runs_of_equal_values() -> None:
    assert list(stretches("aabccc")) == [(0, 2, "a"), (2, 3, "b"), (3, 6, "c")]
    assert list(stretches([])) == []


def test_curves_step_and_areas_close() -> None:
    # 0 to 1 is drawn from 98 to 2: 0 is at 98, a half at 50. Moment 0 is the reset; equal values are one stretch.
    assert 'd="M0 98.00V50.00H2V2.00H3"' in line(np.array([0.0, 0.5, 0.5, 1.0]), "red")
    assert area(np.array([9.0, 0.5, 1.0]), "red") == '<path d="M0 100V50.00H1V0.00H2V100Z" fill="red"/>'


def test_bars_go_up_for_gains_and_down_for_losses() -> None:
    _, gain, loss = bars(np.array([0.0, 0.5, 0.0, -4.0]), 1.0)
    assert 'x="0" y="25.00" width="1" height="25.00"' in gain
    assert 'x="2" y="50.00" width="1" height="50.00"' in loss  # cut at the full height


def test_ticks_are_at_round_places() -> None:
    assert ticks(76) == [(i * 10 / 76, str(i * 10)) for i in range(8)]
    assert [text for _, text in ticks(4.4)] == ["0", "1", "2", "3", "4"]
    assert [text for _, text in ticks(0)] == ["0", "1"]
    assert ticks(280)[-1] == (250 / 280, "250")


def test_a_row_has_a_reading_where_it_has_a_name() -> None:
    strip = drawing(2, [band(0, 2, "red")])
    assert 'class="now"' not in part("row", Row("<i>", strip))
    text = part("row", Row("<i>", strip, "thin", "stage-0"))
    assert "&lt;i&gt;" in text and '<div class="now" id="stage-0"></div>' in text and "<rect" in text


def test_without_jinja2_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from tgrpo_envs.errors import MissingExtraError

    monkeypatch.setitem(sys.modules, "jinja2", None)
    monkeypatch.delitem(sys.modules, "tgrpo_envs.html")
    with pytest.raises(MissingExtraError, match=r"jinja2.*tgrpo\[html\]"):
        __import__("tgrpo_envs.html")
