"""Appraisals for many turns at once, made in one thread.

torch and its libraries keep buffers for every thread that ever computed: sixty-four threads of turns cost 230 MB more
than one, and went on growing for thousands of turns. One at a time is as fast, for an appraisal uses every core.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from affectgpt.appraise.panel import Appraiser
from affectgpt.records import Appraisal, FaceTrack, Observations, Transcript, VoiceTrack

__all__ = ["OneThread"]


class OneThread:
    """An `Appraiser` over another, whose every appraisal happens in the same thread."""

    def __init__(self, inner: Appraiser) -> None:
        self._inner = inner
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="appraise")

    def appraise(
        self,
        observations: Observations,
        face: FaceTrack | None = None,
        voice: VoiceTrack | None = None,
        transcript: Transcript | None = None,
    ) -> Appraisal:
        """See `Appraiser.appraise`; waits for its turn."""
        return self._thread.submit(self._inner.appraise, observations, face, voice, transcript).result()

    def close(self) -> None:
        """Drop what waits, and end the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)
