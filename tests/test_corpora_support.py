"""ESConv's windows: whose turn it is, what came before, and where a dialogue begins."""

from __future__ import annotations

from pathlib import Path

import pytest

from affectgpt.corpora.support import STRATEGIES, read_esconv
from affectgpt.errors import InputError

LINES = [
    "1.0 0 0 I lost my job. EOS 1.0 1 1 [Questions] When  was that?",
    "1.0 0 0 I lost my job. EOS 1.0 1 1 [Questions] When was that? EOS 1.0 0 2 Today. EOS 1.0 1 3 [Information] I see.",
    "1.0 0 0 Hi EOS 1.0 1 1 [Other] Hello",
    "no window at all",
    "1.0 0 0 Hi EOS 1.0 1 1 [Singing] La",
    "1.0 1 2 [Other] Hello",
]


def test_windows_give_strategies_and_what_came_before(tmp_path: Path) -> None:
    path = tmp_path / "dev.tsv"
    path.write_text("\n".join(LINES) + "\n", encoding="utf-8")
    corpus = read_esconv(path)
    first, second, third = corpus.usable
    assert (first.label, first.text, first.references) == ("Questions", "I lost my job.", ("When was that?",))
    assert first.group == {"dialogue": "0", "turn": "1", "before": ""}
    assert second.group == {"dialogue": "0", "turn": "3", "before": "Questions"}
    assert second.context == ("seeker: I lost my job.", "supporter: When was that?", "seeker: Today.")
    assert third.group["dialogue"] == "1"
    assert len(corpus.faults) == 3
    assert {e.label for e in corpus.usable} <= set(STRATEGIES)


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        read_esconv(tmp_path / "nothing.tsv")
    (tmp_path / "latin.tsv").write_bytes(b"1.0 0 0 caf\xe9")
    with pytest.raises(InputError, match="UTF-8"):
        read_esconv(tmp_path / "latin.tsv")


@pytest.mark.shared
def test_the_development_side_reads_whole(shared_data: Path) -> None:
    corpus = read_esconv(shared_data / "text" / "esconv" / "devWithStrategy_short.tsv")
    assert len(corpus.usable) > 2_900
    assert {e.label for e in corpus.usable} == set(STRATEGIES)
