"""Calls one command many times in a process, and prints how each call ended.

python -m tests.support.refused_calls COMMAND < CALLS > OUTCOMES, both JSON
"""

import contextlib
import importlib
import io
import json
import sys

from absl import app, flags

command = sys.argv[1]
module = importlib.import_module(f"abaw_jax.{command}")
outcomes = []
for arguments in json.load(sys.stdin):
    flags.FLAGS.unparse_flags()
    for name in flags.FLAGS:
        flags.FLAGS[name].unparse()
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(shown):
        try:
            module.main(flags.FLAGS([command, *arguments]))
            ended = "finished"
        except SystemExit as error:
            ended = str(error.code)
        except (app.UsageError, flags.Error) as error:
            ended = f"usage: {error}"
        except Exception as error:  # what a user would see as a traceback
            ended = f"TRACEBACK {type(error).__name__}: {error}"
    outcomes.append([ended, shown.getvalue()])
json.dump(outcomes, sys.stdout)
