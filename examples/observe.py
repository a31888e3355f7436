"""What a clip shows and says, in a few lines: no language model is asked.

.venv/bin/python examples/observe.py [clip]
"""

from __future__ import annotations

import sys
from pathlib import Path

import affectgpt


def main() -> int:
    """Print the observations of one clip, by default the example."""
    clip = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "astronaut_smile.mp4"
    try:
        outcome = affectgpt.observe(clip)
    except affectgpt.InputError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    for observation in outcome.observations.items:
        print(observation.line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
