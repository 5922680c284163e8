"""The run that `test_loop` kills: a folder as argument, a checkpoint at every chunk."""

import sys
from pathlib import Path

from abaw_jax.training.job import Limits
from abaw_jax.training.loop import fit
from tests import conftest  # noqa: F401  four devices, before anything uses one
from tests.support import tiny

target = Path(sys.argv[1])
job = tiny.make_job(limits=Limits(4, 9, checkpoint_seconds=0.0))
fit(tiny.make_state(), job, target, lambda *_: (target / "started").touch())
