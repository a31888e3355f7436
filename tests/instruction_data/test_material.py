"""Real recordings and words: read once, shared out by who they are of, worn without breaking."""

from __future__ import annotations

import json
import random
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from affectgpt.appraise.prototypes import appraise
from affectgpt.corpora import Example
from affectgpt.errors import InputError, OptionError, UnreadableMedia
from affectgpt.grounding import check
from affectgpt.parsing import parse_text
from affectgpt.records import Explanation, Modality, Transcript, TranscriptSource, Utterance, Verdict
from affectgpt.textualize import Sensed, restate, tell
from instruction_data.build import build
from instruction_data.composer import compose
from instruction_data.degrading import unfold, worsen_face, worsen_voice
from instruction_data.evidence import draw_face, draw_voice
from instruction_data.material import KINDS, Material, Origin, Seen, gather, source_of
from instruction_data.recipe import load_recipe
from instruction_data.rewording import reword, vary
from instruction_data.scenes import Mix, Stage
from instruction_data.splits import Splitter
from instruction_data.store import read_rows
from instruction_data.tracks import Recording, Senses, keep, load


class Reader:
    """Reads any file as a face and a voice drawn from its bytes; counts how often it was asked."""

    version = "fake 1"

    def __init__(self) -> None:
        self.asked: list[str] = []

    def sense(self, path: Path) -> Senses:
        self.asked.append(path.name)
        if path.read_bytes() == b"damaged":
            raise UnreadableMedia(f"{path} is damaged")
        rng = random.Random(path.read_bytes())
        words = Transcript((Utterance("What a day", 0.1, 1.2),), TranscriptSource.SIDECAR)
        return draw_face(rng, "happy", 2.0), draw_voice(rng, "happy", 2.0), words


def clips(folder: Path, n: int = 4) -> list[Example]:
    folder.mkdir(exist_ok=True)
    for i in range(n):
        (folder / f"c{i}.mp4").write_bytes(b"damaged" if i == 1 else f"clip {i}".encode())
    return [Example(f"c{i}.mp4", media=folder / f"c{i}.mp4", label="happy") for i in range(n)]


def test_a_recording_is_read_once_and_comes_back_as_it_told_itself(tmp_path: Path) -> None:
    examples, reader, cache = clips(tmp_path / "media"), Reader(), tmp_path / "cache" / "x.jsonl"
    first = keep(examples, cache, reader)
    again = keep(examples, cache, reader)
    assert set(first) == set(again) == {"c0.mp4", "c2.mp4", "c3.mp4"}
    assert reader.asked == ["c0.mp4", "c1.mp4", "c2.mp4", "c3.mp4"]
    for name in first:
        one, other = (tell(Sensed(r[name].face, r[name].voice, r[name].words)) for r in (first, again))
        assert [o.cue for o in one.items] == [o.cue for o in other.items]
        assert [o.text for o in one.items] == [o.text for o in other.items]


def test_a_cache_that_was_cut_loses_its_last_recording_only(tmp_path: Path) -> None:
    examples, cache = clips(tmp_path / "media"), tmp_path / "x.jsonl"
    keep(examples, cache, Reader())
    whole = cache.read_bytes()
    cache.write_bytes(whole[:-40])
    reader = Reader()
    keep(examples, cache, reader)
    assert reader.asked == ["c3.mp4"]
    assert len(load(cache, Reader.version)) == 4
    assert load(cache, "another version") == {}
    cache.write_text(json.dumps({"format": 1, "by": Reader.version}) + "\n")
    with pytest.raises(InputError, match="delete the file"):
        load(cache, Reader.version)


def test_speakers_and_files_stay_in_one_split(tmp_path: Path) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    rows = ["file,emotion"]
    for i in range(40):
        (folder / f"W{i % 10:03}_{i}.mp4").write_bytes(f"clip {i % 37}".encode())
        rows.append(f"W{i % 10:03}_{i}.mp4,happy")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    splitter = Splitter({"train": 0.5, "dev": 0.5})
    made = gather([Origin("clips", folder, folder / "labels.csv")], splitter, tmp_path / "cache", Reader())
    speakers = {split: {s.speaker for s in m.seen} for split, m in made.items()}
    media = {split: {s.recording.sha256 for s in m.seen} for split, m in made.items()}
    assert speakers["train"]
    assert speakers["dev"]
    assert not speakers["train"] & speakers["dev"]
    assert not media["train"] & media["dev"]
    with pytest.raises(OptionError, match="no reader"):
        gather([Origin("iemocap", folder)], splitter, tmp_path)


def test_own_clips_keep_speaker_words_and_licence(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    rows = ["file,emotion,speaker"]
    for i in range(30):
        (folder / f"{i}.mp4").write_bytes(f"clip {i}".encode())
        rows.append(f"{i}.mp4,happiness,person {i % 6}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    sources = [{"set": "own", "path": ".", "labels": "labels.csv", "licence": "ours alone"}]
    given = [f"data={folder}", f"out={tmp_path / 'out'}", f"tracks={tmp_path / 't'}", f"sources={json.dumps(sources)}"]
    given += [
        "splits={train: 0.6, dev: 0.4}",
        "rows={train: 30, dev: 10}",
        "scenes.whole=0.5",
        "workers=1",
        "filters.one_person=false",
    ]
    out = build(load_recipe("drawn", [*given, "tasks={explain: 1, label: 1}"]), senser=Reader())
    rows_ = [*read_rows(out / "train.jsonl"), *read_rows(out / "dev.jsonl")]
    own = [r for r in rows_ if any(s.set == "own" for s in r.provenance.sources)]
    assert own
    assert {s.licence for r in own for s in r.provenance.sources if s.set == "own"} == {"ours alone"}
    assert any("What a day" in r.messages[-2].content for r in own)
    people = [{r.provenance.speaker for r in own if r.split == split} - {""} for split in ("train", "dev")]
    assert people[0]
    assert not people[0] & people[1]


def test_every_set_has_a_licence() -> None:
    assert all(source_of(name).licence for name in (*KINDS, "drawn"))
    with pytest.raises(OptionError, match="licence"):
        source_of("iemocap")


def seen(label: str, duration_s: float = 3.0) -> Seen:
    rng = random.Random(label)
    return Seen(
        "clips", label, "W001", Recording("00", "x", draw_face(rng, label, duration_s), draw_voice(rng, label, 3.0))
    )


def test_looking_at_moving_units_only_tells_the_same() -> None:
    stage = Stage(Material("train"), Mix())
    for seed in range(60):
        scene = stage.draw(random.Random(seed))
        assert scene.observations == tell(scene.sensed)


@pytest.mark.parametrize("seed", range(40))
def test_worn_tracks_are_still_told(seed: int) -> None:
    rng = random.Random(seed)
    face, voice = draw_face(rng, "angry", rng.choice((0.0, 0.4, 5.0))), draw_voice(rng, "angry", 5.0)
    worn = worsen_face(rng, face)
    assert len(worn.times_s) == len(worn.found) == len(worn.action_units) == len(worn.width_px) == len(worn.pose_deg)
    observations = tell(Sensed(worn, worsen_voice(rng, voice)))
    assert observations.items
    assert appraise(observations).fused.probabilities


def test_a_photograph_unfolds_to_no_more_than_it_showed() -> None:
    rng = random.Random(1)
    photograph = draw_face(rng, "happy", 0.0)
    shown = np.nan_to_num(photograph.action_units[0])
    moving = unfold(rng, photograph, 4.0)
    assert len(moving.times_s) > 20
    assert (moving.action_units.max(0) <= shown + 0.5).all()
    assert moving.found.all()


def test_real_parts_keep_their_label_their_speaker_and_their_hash() -> None:
    rows = [seen(label) for label in ("happy", "sad", "neutral")]
    stage = Stage(Material("train", {}, rows), Mix(real=1.0, whole=0.2, degraded=0.3))
    whole = 0
    for seed in range(120):
        scene = stage.draw(random.Random(seed))
        whole += scene.is_one_person
        for part in scene.parts:
            if part.source == "clips":
                assert (part.speaker, part.sha256) == ("clips:W001", "00")
            assert part.source in ("clips", "drawn")
        shown = {p.label for p in scene.parts} - {"neutral", None}
        assert (scene.label is None) == (len(shown) > 1 or not scene.parts)
    assert whole > 5


def test_agreeing_and_conflicting_scenes_both_occur() -> None:
    stage = Stage(Material("train"), Mix())
    scenes = [stage.draw(random.Random(seed)) for seed in range(200)]
    both = [s for s in scenes if {p.modality for p in s.parts} >= {Modality.FACE, Modality.VOICE}]
    felt = [s for s in both if len({p.label for p in s.parts} - {"neutral"}) >= 1]
    assert any(s.label is None for s in felt)
    assert any(s.label for s in felt)
    assert any(appraise(s.observations, s.words).conflicts for s in scenes)
    assert len([s for s in scenes if replace(s).observations.left_out]) > 0


@pytest.mark.parametrize("wording", ["second", "varied"])
def test_other_words_change_no_fact(wording: str) -> None:
    stage, n_lines = Stage(Material("train"), Mix()), 0
    for seed in range(80):
        scene = stage.draw(random.Random(seed))
        seen = scene.observations
        other = reword(seen) if wording == "second" else vary(seen, random.Random(seed))
        assert appraise(other, scene.words) == appraise(scene.observations, scene.words)
        for o, told in zip(scene.observations.items, other.items, strict=True):
            numbers, changed = (
                sorted(re.findall(r"\d+\.\d+", t.partition(", over this")[0])) for t in (o.text, told.text)
            )
            assert set(numbers) <= set(changed) | {f"{o.baseline}"}
            assert o.is_missing or o.text != told.text
            assert f"[{o.id}]" in restate(told)
            n_lines += 1
        answer = parse_text(compose(other, appraise(other, scene.words), random.Random(seed)))
        assert isinstance(answer, Explanation)
        assert all(c.verdict is Verdict.SUPPORTED for c in check(answer, other).claims), [
            c for c in check(answer, other).claims if c.reason
        ]
    assert n_lines > 300


def test_a_drawn_wording_is_never_the_second_vocabulary_and_seldom_another_drawn_one() -> None:
    stage, lines = Stage(Material("train"), Mix()), set()
    for seed in range(40):
        seen = stage.draw(random.Random(0)).observations
        told = vary(seen, random.Random(seed))
        assert told == vary(seen, random.Random(seed))
        for o, a, b in zip(seen.items, told.items, reword(seen).items, strict=True):
            assert o.is_missing or a.text != b.text
        lines.add("\n".join(o.text for o in told.items))
    assert len(lines) > 35


def test_only_the_split_that_asks_for_it_is_reworded(tmp_path: Path) -> None:
    given = [f"out={tmp_path / 'out'}", f"tracks={tmp_path}", "rows={train: 12, dev: 24}", "workers=1"]
    out = build(load_recipe("drawn", [*given, "reworded={dev: 0.5}", "varied={train: 0.5}", "tasks={explain: 1}"]))
    assert {r.provenance.wording for r in read_rows(out / "train.jsonl")} == {"", "varied"}
    assert {r.provenance.wording for r in read_rows(out / "dev.jsonl")} == {"", "second"}


@pytest.mark.shared
@pytest.mark.slow
def test_a_photograph_of_the_shared_set_is_read_and_kept(shared_data: Path, tmp_path: Path) -> None:
    from instruction_data.tracks import AgentSenses

    photograph = sorted((shared_data / "faces" / "muxspace" / "images").glob("*.jpg"))[0]
    found = keep([Example("a", media=photograph)], tmp_path / "x.jsonl", AgentSenses())
    face = found["a"].face
    assert face is not None
    assert len(face.times_s) == 1
    (again,) = load(tmp_path / "x.jsonl", AgentSenses.version).values()
    assert again.face is not None
    assert np.allclose(again.face.action_units, face.action_units, atol=1e-3, equal_nan=True)
