"""Another name of `abaw_jax.weights.loading`, its only name before version 0.2."""

import sys
from importlib import import_module

if __name__ == "__main__":
    sys.exit("This command has another name now: python -m abaw_jax.weights")

# By name: `models` is below `weights` and imports nothing from it.
sys.modules[__name__] = import_module("..weights.loading", __package__)
