"""A voice track told as observations."""

from __future__ import annotations

import numpy as np

from affectgpt.records import BaselineKind, Interval, VoiceTrack, VoiceWindow
from affectgpt.textualize.voice import tell, tell_missing


def track(
    z: dict[str, float], windows: tuple[VoiceWindow, ...] = (), kind: BaselineKind = "population", **more: float
) -> VoiceTrack:
    empty = np.zeros(0, np.float32)
    return VoiceTrack(
        times_s=np.zeros(0),
        f0_hz=empty,
        level_db=empty,
        speech=(Interval(0, 2),),
        measures={k: 180.0 + v for k, v in z.items()},
        z=z,
        windows=windows,
        baseline=dict.fromkeys(("f0_median_hz", "syllable_rate_hz"), (180.0, 20.0)),
        baseline_kind=kind,
        reader="test",
        **more,
    )


def test_words_and_numbers_against_the_baseline() -> None:
    window = VoiceWindow(0.4, 1.9, {"f0_median_hz": 231.0}, {"f0_median_hz": 2.14})
    (o,) = tell(track({}, (window,), "own"))
    assert o.text == (
        "pitch (median F0) much higher, 231 Hz, 2.1 SD over this speaker's own baseline, 0.4–1.9 s, confidence 0.90"
    )
    assert (o.level, o.value, o.baseline) == ("much higher", 2.1, 180.0)


def test_direction_and_class() -> None:
    told = {o.cue: o.level for o in tell(track({"f0_median_hz": -2.5, "syllable_rate_hz": 1.2, "hnr_db": 0.3}))}
    assert told == {"f0_median_hz": "much lower", "syllable_rate_hz": "higher"}


def test_an_even_voice_is_told_as_near_the_baseline() -> None:
    told = tell(track({"f0_median_hz": 0.2, "hnr_db": -0.4}))
    assert [(o.cue, o.level) for o in told] == [("f0_median_hz", "near")]
    assert "near the baseline" in told[0].text


def test_a_population_baseline_and_noise_lower_the_confidence() -> None:
    clean, noisy = track({"f0_median_hz": 2.0}, snr_db=30.0), track({"f0_median_hz": 2.0}, snr_db=6.0)
    assert tell(noisy)[0].confidence < tell(clean)[0].confidence
    own = track({}, (VoiceWindow(0, 1, {"f0_median_hz": 230.0}, {"f0_median_hz": 2.0}),), "own", snr_db=30.0)
    assert tell(clean)[0].confidence < tell(own)[0].confidence


def test_whispering_silence_and_clipping_are_told() -> None:
    whisper = track({"syllable_rate_hz": 0.0}, clipped_ratio=0.2)
    assert [o.cue for o in tell_missing(whisper)] == ["missing_voiced", "missing_level"]
    silent = VoiceTrack(
        np.zeros(0), np.zeros(0, np.float32), np.zeros(0, np.float32), (), {}, {}, (), {}, "population", "test"
    )
    assert [o.text for o in tell_missing(silent)] == ["no speech was detected in the sound"]
    assert tell(silent) == []
