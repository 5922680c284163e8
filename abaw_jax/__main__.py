"""The console command: ``abaw-jax train|prepare|…``, each with its own flags."""

import importlib
import sys

COMMANDS = {
    "train": ("abaw_jax.main", "trains, and whatever that needs"),
    "prepare": ("abaw_jax.prepare", "packs a release into a store, or checks it"),
    "export": ("abaw_jax.export", "writes a trained network for others to load"),
    "evaluate": ("abaw_jax.evaluate", "scores a trained network on labelled data"),
    "predict": ("abaw_jax.predict", "predicts every frame and face of a video"),
    "submit": ("abaw_jax.submit", "writes the files of an ABAW challenge"),
    "verify": ("abaw_jax.verify", "compares a store, run or model with its digests"),
    "profile": ("abaw_jax.profile", "measures what a step costs"),
}


def main() -> None:
    """Runs the command that the first argument names."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name not in COMMANDS:
        lines = [f"  abaw-jax {each:8} {what}" for each, (_, what) in COMMANDS.items()]
        print("\n".join(["usage: abaw-jax COMMAND --flag=value …", *lines]))
        print("abaw-jax COMMAND --help lists its flags.")
        sys.exit(name not in ("--help", "-h", "help"))
    module = importlib.import_module(COMMANDS[name][0])
    module.run([f"abaw-jax {name}", *sys.argv[2:]])


if __name__ == "__main__":
    main()
