"""Foreign text is shown, and no program obeys it."""

import csv
import io
import json

from hypothesis import given
from hypothesis import strategies as st

from exporter.escaping import cell, printable, printable_json


@given(st.text(st.characters(exclude_categories=("Cs",)), min_size=1))
def test_any_text_is_printable_means_the_same_in_json_and_is_one_harmless_cell(text: str) -> None:
    assert printable(text).isprintable()
    assert printable_json(text).isprintable()
    assert json.loads(printable_json({"id": text})) == {"id": text}
    output = io.StringIO()
    csv.writer(output, lineterminator="\n").writerow([cell(text), "next"])
    assert output.getvalue().count("\n") == 1
    (row,) = csv.reader(io.StringIO(output.getvalue()))
    assert row == [cell(text), "next"]
    assert not row[0].startswith(("=", "+", "-", "@"))


def test_letters_of_all_scripts_stay_and_control_characters_do_not() -> None:
    assert printable("节点-1 ñ") == cell("节点-1 ñ") == "节点-1 ñ"
    assert printable("a\x1b[31m\r\n\u202e\u200b\x9b") == r"a\x1b[31m\r\n\u202e\u200b\x9b"
    assert [cell(f"{sign}1+1") for sign in "=+-@"] == [f"'{sign}1+1" for sign in "=+-@"]
