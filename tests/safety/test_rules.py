"""The rule table is well formed, and every rule finds its own examples and leaves its counterexamples alone."""

from __future__ import annotations

import pytest

from affectgpt.errors import OptionError
from affectgpt.safety import gravest
from affectgpt.safety.rules import LANGUAGES, Rule, load_rules, read_rules

RULES = load_rules().rules
DENIALS = '[denials]\nwords = { en = ["not"] }\nundoing = { en = ["stop"] }\nturning = { en = ["but"] }\n'
ROW = '[[rules]]\nid = "x"\nrisk = "crisis"\nside = "user"\nlevel = "urgent"\nreason = "test"\n'


def texts(rules: tuple[Rule, ...], key: str) -> list[tuple[Rule, str]]:
    return [(rule, text) for rule in rules for listed in (getattr(rule, key) or {}).values() for text in listed]


def test_every_rule_is_named_once_and_says_why() -> None:
    assert len({rule.id for rule in RULES}) == len(RULES)
    assert all(len(rule.reason) > 20 for rule in RULES)
    assert {name for rule in RULES for name in rule.replaces} <= {rule.id for rule in RULES}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_every_rule_speaks_and_is_tried_in_every_language(rule: Rule) -> None:
    assert set(rule.phrases or {}) == set(rule.fires or {}) == set(LANGUAGES)


@pytest.mark.parametrize(("rule", "text"), texts(RULES, "fires"), ids=lambda x: getattr(x, "id", None))
def test_fires_on_its_own_examples(rule: Rule, text: str) -> None:
    found = [f for f in load_rules().find(text, rule.side) if f.rule == rule.id]
    assert found
    assert all(0 <= f.start < f.end <= len(text) for f in found)


@pytest.mark.parametrize(("rule", "text"), texts(RULES, "silent"), ids=lambda x: getattr(x, "id", None))
def test_is_silent_on_its_counterexamples(rule: Rule, text: str) -> None:
    assert rule.id not in {f.rule for f in load_rules().find(text, rule.side)}


def test_a_denial_before_a_phrase_softens_it_and_a_past_crisis_is_no_present_one() -> None:
    def level(text: str) -> str:
        found = gravest(tuple(load_rules().find(text, "user")))
        return found.level if found else "none"

    assert level("I want to kill myself") == "urgent"
    assert level("I'm not going to kill myself") == "concern"
    assert level("I can't stop wanting to kill myself, I want to die") == "urgent"
    assert level("When I was 15 I tried to kill myself") == "concern"
    assert level("Years ago I tried to kill myself and tonight I want to kill myself again") == "urgent"


@pytest.mark.parametrize(
    "broken",
    [
        ROW.replace("crisis", "boredom"),
        ROW.replace("test", ""),
        ROW + '[rules.phrases]\nxx = ["die"]\n',
        ROW + '[rules.phrases]\nen = ["~ die"]\n',
        ROW + '[rules.phrases]\nen = ["(die"]\n',
        ROW + '[rules.phrases]\nen = ["[die]"]\n',
        ROW + '[rules.phrases]\nen = ["<nobody> die"]\n',
        ROW + '[rules.phrases]\nen = ["di*"]\n',
        ROW + '[rules.phrases]\nen = ["a ~99 b"]\n',
    ],
)
def test_a_table_with_a_mistake_is_refused(broken: str) -> None:
    with pytest.raises(OptionError):
        read_rules(DENIALS + broken)


def test_words_in_brackets_gaps_and_ends_of_sentences() -> None:
    phrases = '[rules.phrases]\nen = ["(red|blue dark|<fruit>) ~2 house", "ask / now", "why me ?"]\n'
    rules = read_rules(DENIALS + '[groups.en]\nfruit = "plum|pear tree"\n' + ROW + phrases)

    def found(text: str) -> list[str]:
        return [text[f.start : f.end] for f in rules.find(text, "user")]

    assert found("a red house") == ["red house"]
    assert found("a blue dark big old house") == ["blue dark big old house"]
    assert found("the pear tree house, the plum house") == ["pear tree house", "plum house"]
    assert found("a red, not so big house") == []  # no gap passes a denial
    assert found("it is red. The house is old") == []
    assert found("Ask. Now!") == ["Ask. Now"]
    assert found("Why me? Why me.") == ["Why me?"]


def test_a_word_with_a_hyphen_is_found_however_it_is_written() -> None:
    rules = read_rules(DENIALS + ROW + '[rules.phrases]\nfr = ["mon beau-père", "frappe-le"]\n')
    for text in ("mon beau-père", "mon beau père", "mon beaupère", "frappe-le !", "frappe le"):
        assert rules.find(text, "user"), text
