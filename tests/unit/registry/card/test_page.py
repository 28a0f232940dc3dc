"""The card is one file that needs nothing else, hides nothing, and cannot be broken by a name."""

import math
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser

import pytest

from registry.card.card import Card, Judging
from registry.card.page import card_html, card_piece
from registry.card.rules_table import SHOWN_SLICES
from registry.card.verdict_html import claim, verdict_html
from registry.verdict import CaseState, Decision, Rule, RuleResult, Verdict

VOID = {"meta", "br"}


class Page(HTMLParser):
    """What a browser would see."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.rows: list[list[str]] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            assert "url(" not in data
            assert "@import" not in data
            return
        self.texts.append(data)
        if "tr" in self.open:
            self.rows[-1].append(data)

    @property
    def text(self) -> str:
        return " ".join(self.texts)

    def row(self, start: str) -> str:
        """The one table row that begins with this."""
        (found,) = [" ".join(row) for row in self.rows if row and row[0].startswith(start)]
        return found


def test_the_page_is_whole_and_asks_for_nothing_from_outside(card: Card) -> None:
    page = Page(card_html(card))
    assert page.open == []
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    assert not {"src", "href", "srcset", "action"} & {name for name, _ in page.attributes}
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert dict(page.attributes)["content"].startswith("default-src 'none'")


def test_names_are_text_wherever_they_stand(card: Card) -> None:
    page = Page(card_html(card))
    assert not {"script", "b>north", "retrain"} & set(page.tags)
    for name in ("elec<script>alert(1)</script>", "region=<b>north", "sklearn.<i>Forest"):
        assert name in page.text
    assert "flow <retrain>" in page.text
    assert "run run-'31'" in page.text


def test_every_rule_is_there_with_its_result_in_words(card: Card) -> None:
    page = Page(card_html(card))
    assert "(2 of 7 not passed, 1 not judged)" in page.text
    assert page.row("improvement in accuracy").endswith("✗ not proven")
    assert page.row("guard ece") == "guard ece -0.004 -0.009 to +0.001 -0.02 5,000 ✓ passed"
    assert page.row("floor roc_auc") == "floor roc_auc roc_auc is 0.9412 0.9412 0.9 5,000 ✓ passed"
    assert "6.1 % 5.5 % to 6.7 % 10 % 5,000 ✓ passed" in page.row("flips accuracy")
    assert "12.4 20 5,000 ✓ passed" in page.row("cost latency_ms")
    assert "it is worse" in page.row("slice region=<b>north")
    assert page.row("slice region=south").endswith("12 – not judged")


def test_what_failed_stands_first(card: Card) -> None:
    names = [row[0] for row in Page(card_html(card)).rows if row]
    rules = [name for name in names if name.split()[0] in {"improvement", "guard", "slice"}]
    assert rules == [
        "improvement in accuracy",
        "slice region=<b>north",
        "guard ece",
        "slice region=south",
    ]


def test_the_sentence_budget_data_and_training_are_said(card: Card) -> None:
    text = Page(card_html(card)).text
    assert "Version 31 is not proven better than champion version 27 yet" in text
    assert "0.045 of 0.05 left (90 %); 44 challengers took a share." in text
    assert "evidence of 9,605" in text
    assert "2 earlier decisions looked at some of these rows" in text
    assert "hourly version 317, weather version 12" in text
    assert "182,400" in text
    assert "v27 since 2026-11-22 03:10 UTC (epoch 4, promote by flow <retrain>)" in text
    assert "kept; about 4 more nights at this pace" in text
    assert "mean gap" in text


def test_a_first_models_level_is_not_called_a_share_of_the_budget(card: Card) -> None:
    first = replace(card, verdict=replace(card.verdict, champion=None, level=0.05, cases=()))
    text = Page(card_html(first)).text
    assert "A first model takes none of it: its own level is 0.05." in text
    assert "This decision's share" not in text


def test_the_sentence_comes_before_everything_else(card: Card) -> None:
    texts = Page(card_html(card)).texts
    said = next(i for i, text in enumerate(texts) if text.startswith("Version 31 is not proven"))
    assert said < texts.index("Rules ")


def test_many_slices_that_passed_are_folded_and_one_that_failed_is_not(card: Card) -> None:
    whole = card.verdict.rules[0]
    slices = tuple(
        replace(whole, rule=Rule.SLICE, slice=f"n={i}", passed=i != 7, message="")
        for i in range(SHOWN_SLICES + 2)
    )
    html = card_html(replace(card, verdict=replace(card.verdict, rules=(whole, *slices))))
    before, _, folded = html.partition("<details")
    assert "slice n=7<" in before
    assert "slice n=6<" not in before
    assert f"{SHOWN_SLICES + 1} more slices passed" in folded
    assert Page(html).text.count("slice n=") == SHOWN_SLICES + 2


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf])
def test_a_figure_that_is_none_or_not_finite_breaks_nothing(
    card: Card, value: float | None
) -> None:
    rules = tuple(
        replace(each, figure=value, low=value, high=value, bound=value)
        for each in card.verdict.rules
    )
    verdict = replace(
        card.verdict,
        rules=rules,
        challenger_score=value,
        baseline=value,
        difference=value,
        low=value,
        high=value,
        cases=tuple(
            replace(case, log_evidence=value or 0.0, log_needed=value)
            for case in card.verdict.cases
        ),
    )
    history = tuple(replace(past, cases=verdict.cases) for past in card.history)
    page = Page(card_html(replace(card, verdict=verdict, history=history)))
    assert page.open == []
    assert not {"nan", "inf"} & set(page.text.lower().replace("%", " ").split())
    assert not [value for name, value in page.attributes if name == "style" and "nan" in value]


def test_a_verdict_that_could_not_judge_shows_the_reason_and_no_empty_sections() -> None:
    obstacle = RuleResult(
        rule=Rule.EVIDENCE, metric="accuracy", passed=False, rows=0, message="the holdout is empty"
    )
    verdict = Verdict(
        model="digits",
        challenger="1",
        champion=None,
        epoch=0,
        decision=Decision.HOLD,
        promote=False,
        reason="Version 1 cannot be judged: the holdout is empty.",
        metric="accuracy",
        challenger_score=None,
        baseline=None,
        difference=None,
        low=None,
        high=None,
        confidence=0.95,
        rows=0,
        rules=(obstacle,),
        run_id="r",
        mlflow_run_id="",
    )
    page = Page(card_html(Card(verdict=verdict, judging=Judging(rows=0))))
    assert "Version 1 cannot be judged: the holdout is empty." in page.text
    assert page.row("can be judged").endswith("✗ failed")
    for section in ("Evidence over nights", "Calibration", "Error budget", "Who was trained"):
        assert section not in page.text


def test_a_verdict_that_waits_has_its_own_colour_and_says_what_to_type(card: Card) -> None:
    waits = replace(card.verdict, decision=Decision.AWAIT, expires_at=card.at, model="loans")
    waits = replace(waits, reason=f"{card.verdict.reason} {waits.waits}")
    for html in (card_html(replace(card, verdict=waits)), waits._repr_html_()):
        text = Page(html).text
        assert "<span class='c-pill c-ask'>… awaits approval</span>" in html
        assert text.count("waits for approval") == 1
        assert "Version 31 waits for approval until 2026-11-22 03:10 UTC:" in text
        assert "<code>ratchet approve loans 31 --reason TEXT</code>" in html
        assert "<code>ratchet reject loans 31 --reason TEXT</code>" in html
    # Below a run that has said the reason already, the command is still there.
    assert "ratchet approve loans 31" in verdict_html(waits, said=waits.reason)
    assert "c-pill c-ask" not in card_html(card)


def test_what_became_of_each_comparison_is_said_with_its_harm_and_its_obstacle(card: Card) -> None:
    kept = card.verdict.cases[0]
    gone = "the files of version 34 are gone"
    cases = (
        replace(kept, challenger="31", log_evidence=9.5, state=CaseState.PROVEN),
        replace(kept, challenger="32", state=CaseState.GIVEN_UP, harmed="worse on x=<b>1"),
        replace(kept, challenger="33", nights_left=40, nights_given=12),
        replace(
            kept, challenger="34", log_evidence=0, log_needed=None, rows=0, nights=0, note=gone
        ),
    )
    page = Page(card_html(replace(card, verdict=replace(card.verdict, cases=cases))))
    assert page.row("v31").startswith("v31 ← proven")
    assert "given up; proven worse on x=<b>1" in page.row("v32")
    assert "kept; about 40 more nights at this pace, and it is given 12" in page.row("v33")
    assert "kept; the files of version 34 are gone 1 no budget 0 –" in page.row("v34")


def test_a_rule_that_was_only_noted_or_not_measured_does_not_look_decided(card: Card) -> None:
    seen, cost = (
        RuleResult(rule=kind, metric=metric, passed=True, judged=False, rows=rows, message=said)
        for kind, metric, rows, said in (
            (Rule.EVIDENCE, "accuracy", 12, "12 rows are of the class owl"),
            (Rule.COST, "size_mb", 0, "not measured"),
        )
    )
    verdict = replace(card.verdict, rules=(seen, cost))
    page = Page(card_html(replace(card, verdict=verdict)))
    assert "(all passed, 2 not judged)" in page.text
    assert page.row("worth knowing").endswith("12 rows are of the class owl 12 – noted")
    assert page.row("cost size_mb").endswith("not measured 0 – not judged")


def test_verdict_and_card_show_themselves_in_a_notebook(card: Card) -> None:
    verdict = Page(card.verdict._repr_html_())
    assert verdict.open == []
    assert "(2 of 7 not passed, 1 not judged)" in verdict.text
    assert card._repr_html_() == card_piece(card)
    assert "body" not in Page(card._repr_html_()).tags


def test_of_a_long_sentence_the_claim_stands_out() -> None:
    assert claim("It is better. So is v2. And v3.") == ("It is better.", "So is v2. And v3.")
    assert claim("It cannot be judged: no rows.") == ("It cannot be judged: no rows.", "")
    why = "evidence 41 of 9,605 needed, from 10,000 rows of 2 nights; accuracy 0.94 against 0.93"
    assert claim(f"Version 31 is not proven better than version 27 yet: {why}. More.") == (
        "Version 31 is not proven better than version 27 yet",
        f"E{why[1:]}. More.",
    )


def test_the_card_says_the_gap_between_training_and_judging_where_it_is_known(card: Card) -> None:
    month = timedelta(days=30).total_seconds()
    page = card_html(replace(card, verdict=replace(card.verdict, gap_s=month)))
    assert "30 days between the rows that trained and these" in page
    assert "between the rows that trained" not in card_html(card)
