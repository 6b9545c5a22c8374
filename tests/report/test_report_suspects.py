"""What the page says of suspects, on numbers that can be read by eye."""

from ufnrec_tf.comparison.summary import _mean_dict
from ufnrec_tf.report.render import render
from ufnrec_tf.report.suspects import flat_future, suspect_facts

FUTURE = {
    "num_flagged": 10,
    "rate": 0.02,
    "matched_on_popularity": {"rate": 0.01, "lift": 2.0, "low": 1.5, "high": 2.5},
    "matched_on_popularity_and_score": {"rate": 0.016, "lift": None, "low": None, "high": None},
}
SUSPECTS = {
    "most_flagged": [{"name": "7 (Seven <b>)", "users": 3, "train_events": 12}],
    "examples": [
        {
            "user": "u1",
            "history": ["a", "b"],
            "flagged": [{"item": "x", "taken_later": True}, {"item": "y", "taken_later": False}],
            "later": ["x"],
        }
    ],
}


def arm(name, *futures, suspects=None):
    future = _mean_dict([flat_future({"future": future}) for future in futures])
    return {"name": name, "detection": None, "future": future, "suspects": suspects}


def section(*arms):
    return render("suspects.html", suspects=suspect_facts(arms), averaged="")


def test_lifts_are_means_over_seeds_and_an_unknown_one_is_left_out():
    other = {**FUTURE, "matched_on_popularity": {"rate": 0.01, "lift": 3.0, "low": 2, "high": 4}}
    page = section(arm("keep"), arm("safe", FUTURE, other))
    assert "as popular</td>" in page and "2.50, 1.75 to 3.25" in page
    assert "scored alike" not in page and "keep" not in page


def test_examples_mark_what_was_taken_and_escape_what_is_named():
    page = section(arm("safe", FUTURE, suspects=SUSPECTS))
    assert "7 (Seven &lt;b&gt;)" in page and "<b>x</b>, y" in page and "a, b" in page


def test_nothing_suspected_is_no_section():
    assert section(arm("keep")).strip() == ""
