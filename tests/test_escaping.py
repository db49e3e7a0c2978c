"""Foreign text is shown, and no program obeys it."""

import csv
import io
import json

from hypothesis import given
from hypothesis import strategies as st

from exporter.escaping import cell, printable, printable_json


@given(st.text(st.characters(exclude_categories=("Cs",))))
def test_a_terminal_can_print_any_text(text: str) -> None:
    assert printable(text).isprintable()
    assert printable_json(text).isprintable()


@given(st.text(st.characters(exclude_categories=("Cs",))))
def test_printable_json_has_the_same_meaning(text: str) -> None:
    assert json.loads(printable_json({"id": text})) == {"id": text}


def test_letters_of_all_scripts_stay_and_control_characters_do_not() -> None:
    assert printable("节点-1 ñ") == "节点-1 ñ"
    assert printable("a\x1b[31m\r\n\u202e\u200b\x9b") == r"a\x1b[31m\r\n\u202e\u200b\x9b"


def test_a_cell_that_looks_like_a_formula_is_quoted_as_text() -> None:
    for sign in "=+-@":
        assert cell(f"{sign}1+1") == f"'{sign}1+1"
    assert cell("node-1") == "node-1"


@given(st.text(st.characters(exclude_categories=("Cs",)), min_size=1))
def test_every_cell_survives_csv_on_one_line(text: str) -> None:
    output = io.StringIO()
    csv.writer(output, lineterminator="\n").writerow([cell(text), "next"])
    assert output.getvalue().count("\n") == 1
    (row,) = csv.reader(io.StringIO(output.getvalue()))
    assert row == [cell(text), "next"]
    assert not row[0].startswith(("=", "+", "-", "@"))
