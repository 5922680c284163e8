"""The run that `test_processes` spreads: FOLDER DEVICES PLACE [HOW CHUNKS].

Twenty rounds of a student on so many devices of this process. PLACE is ``alone`` or
what --join takes; after CHUNKS the run is left as a killed one (HOW is ``left``), or
the last process gets SIGTERM (``terminated``).
"""

import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import jax

from abaw_jax.training import processes

folder, devices, place, *how = sys.argv[1:]
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", int(devices))
if place != "alone":
    processes.join(place)

# They ask for the devices as soon as they are imported.
import numpy as np  # noqa: E402

from abaw_jax.pipeline.batches import plan, training_chunks  # noqa: E402
from abaw_jax.pipeline.items import feature_items  # noqa: E402
from abaw_jax.training import loop  # noqa: E402
from abaw_jax.training.curriculum import LossSettings  # noqa: E402
from abaw_jax.training.job import Limits, Validation  # noqa: E402
from abaw_jax.training.loop import fit  # noqa: E402
from abaw_jax.training.sharding import put_on_devices as place_everywhere  # noqa: E402
from abaw_jax.training.stopping import Stopped, watch_signals  # noqa: E402
from tests.support import tiny  # noqa: E402

# Batches of 16, 16, 5 and 5 rows: most devices have less to do than others.
if jax.process_index() > 0:
    # Clocks of processes disagree; this one says that a checkpoint is never due.
    loop.time = SimpleNamespace(monotonic=lambda: 0.0)
schedule = plan(tiny.SIZES, batch_size=22, rounds_per_chunk=2)
seen = 0


def watch(position, ended):
    global seen
    seen += not ended
    if not how or seen != int(how[1]):
        return
    if how[0] == "left":
        raise KeyboardInterrupt
    if jax.process_index() == jax.process_count() - 1:
        signal.raise_signal(signal.SIGTERM)


job = tiny.make_job(
    student=True,
    step=tiny.make_step(True, optimizer=tiny.PLAIN),
    teacher=place_everywhere(tiny.make_teacher(7), tiny.SHARDINGS.members),
    table=place_everywhere(tiny.make_table(), tiny.SHARDINGS.replicated),
    keys=place_everywhere(jax.random.key(5)[None], tiny.SHARDINGS.members),
    schedule=schedule,
    chunks=training_chunks(
        tiny.make_samples(),
        feature_items(np.arange(tiny.ROWS, dtype=np.int32)),
        schedule,
        epochs=4,
        process_rows=tiny.SHARDINGS.process_rows,
    ),
    # A gamma of 12 would magnify rounding with every round.
    losses=(LossSettings(gamma_rule="none"),),
    limits=Limits(4, 9, checkpoint_seconds=0.0),
    validate=lambda variables: [Validation(0.0, {"va": 0.0}, {})],
    keep="last",
)
assert 4 * schedule.rounds_per_epoch >= 20
try:
    with watch_signals():
        fit(tiny.make_state(optimizer=tiny.PLAIN), job, Path(folder), watch)
except Stopped as stop:
    sys.exit(stop.exit_code)
except KeyboardInterrupt:
    # The last chunk was dispatched and is still computed; a process that exits now,
    # with collectives under way, died of signal 11 twice in full suites.
    jax.block_until_ready(jax.live_arrays())
