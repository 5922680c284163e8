"""Worker process of ``write_release``: reads tasks, prints finished videos."""

import json
import os
import sys
import threading
from pathlib import Path

from abaw_jax.synthetic.plan import SyntheticSettings, draw_plan
from abaw_jax.synthetic.write_release import record


def _work() -> None:
    """Renders the videos that are named on standard input."""
    task = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_the_caller, daemon=True).start()
    size = tuple(task["settings"].pop("video_size"))
    settings = SyntheticSettings(**task["settings"], video_size=size)
    videos = draw_plan(settings, seed=task["seed"])
    for video in videos:
        if video.name in task["names"]:
            record(Path(task["root"]), video, settings, seed=task["seed"])
            print(video.name, flush=True)


def _end_with_the_caller() -> None:
    """Waits for the end of the input, which comes when the caller is gone."""
    os.read(sys.stdin.fileno(), 1)
    os._exit(1)


if __name__ == "__main__":
    _work()
