"""Exports a network of a finished run as a model folder."""

import importlib.metadata
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

import abaw_jax
from abaw_jax.experiment import corpus, encoders, model_factory, rows
from abaw_jax.experiment.population import count_runs
from abaw_jax.experiment.run import Run
from abaw_jax.experiment.run_record import read_record
from abaw_jax.inference.formats import convert, require
from abaw_jax.inference.model_folder import Contract, require_place, write_model
from abaw_jax.json_files import read_json
from abaw_jax.tasks import ACTION_UNITS, AFFECT, EXPRESSIONS
from abaw_jax.training.networks import load_fitted
from abaw_jax.training.processes import to_host
from abaw_jax.training.sharding import over_all_devices
from abaw_jax.training.state import Variables, init_variables, take_member


def export(
    workdir: Path, role: str, model: Path, formats: Sequence[str] = ()
) -> Contract:
    """Writes the model folder of one role of a run.

    Args:
      workdir: of a finished run.
      role: "teacher", "student", or "student2" of the second generation; the networks
        of an ensemble are exported together.
      model: folder that is written.
      formats: of `formats.FORMATS`, in which the network is written as well.

    Returns:
      What ``model.json`` holds.

    Raises:
      ValueError: if the run or the role is not finished, or was trained on features of
        other encoders, or a format cannot be written; says why.
      OSError: if the folder cannot be written.
    """
    require(formats)
    require_place(model)
    config, inputs = read_record(workdir)
    _require_exportable(config, workdir, role)
    run = Run(config, workdir, inputs, corpus.build(config, inputs), over_all_devices())
    networks = _networks(run, role)
    contract = _contract(run, role, model.name)
    files: dict[str, bytes] = {}
    if formats:
        files, contract["networks"] = convert(contract, networks, formats)
    write_model(model, contract, networks, files)
    return contract


def _require_exportable(config: ConfigDict, workdir: Path, role: str) -> None:
    if not (workdir / role / "done.json").is_file():
        done = sorted(each.parent.name for each in workdir.glob("*/networks"))
        raise ValueError(
            f"{workdir} has no finished {role}; it has {', '.join(done) or 'none'}."
        )
    if count_runs(config) > 1:
        raise ValueError(
            f"{workdir} is a population of {count_runs(config)} runs: train the one to "
            "export alone, without config.population."
        )
    made = [s for s in config.streams if config.features[s]]
    if made or config.image_encoder.onnx:
        raise ValueError(
            f"{workdir} was trained on features from elsewhere: the run has "
            "no encoder that could be exported with its network."
        )
    if config.regime != "features" and config.kd.ensemble > 1 and role != "teacher":
        raise ValueError(
            "An ensemble whose networks each trained their encoders is not exported: "
            "set config.kd.ensemble=1."
        )


def _networks(run: Run, role: str) -> dict[str, Variables]:
    """Weights by name; those of the heads with a leading axis."""
    config, directory = run.config, run.workdir / role
    members = len((read_json(directory / "done.json") or {})["members"])
    if config.regime == "features":
        module, examples = (
            model_factory.heads(config),
            model_factory.feature_shapes(config),
        )
    else:
        module, examples = model_factory.affect_model(config), _media_shapes(run)
    like = jax.eval_shape(partial(init_variables, module), jax.random.key(0), *examples)
    variables = to_host(load_fitted(directory, like, members, run.shardings))
    if config.regime == "features":
        image = encoders.image_encoder(run) if "image" in config.streams else None
        sound = encoders.sound_encoder(run) if "sound" in config.streams else None
        named = {"image_encoder": image, "sound_encoder": sound}
        frozen = {name: each.variables for name, each in named.items() if each}
        return {**frozen, "heads": variables}
    return _split(variables)


def _media_shapes(run: Run) -> tuple[jax.ShapeDtypeStruct, ...]:
    size, windows = run.store.image_size, run.windows
    length = round(windows.sound_seconds * run.store.sample_rate)
    return (
        jax.ShapeDtypeStruct((2, windows.images, size, size, 3), jnp.uint8),
        jax.ShapeDtypeStruct((2, length), jnp.int16),
    )


def _split(variables: Variables) -> dict[str, Variables]:
    """Encoders of the only member, and heads, of networks trained end to end."""
    names = dict.fromkeys(name for tree in variables.values() for name in tree)
    parts = {
        name: {
            collection: tree[name]
            for collection, tree in variables.items()
            if name in tree
        }
        for name in names
    }
    return {
        name: part if name == "heads" else take_member(part, 0)
        for name, part in parts.items()
    }


def _contract(run: Run, role: str, name: str) -> Contract:
    config, store = run.config, run.store
    result = read_json(run.workdir / "result.json") or {}
    windows = config.windows
    frames = {
        "shape": ["B", windows.images, store.image_size, store.image_size, 3],
        "dtype": "uint8",
        "colours": "rgb",
        "stride": windows.stride,
        "unit": windows.unit,
        "size": config.image_encoder.size,
        "resize": "bilinear",
    }
    samples = round(windows.sound_seconds * store.sample_rate)
    waveform = {
        "shape": ["B", samples],
        "dtype": "int16",
        "rate": store.sample_rate,
        "seconds": windows.sound_seconds,
        "pad": "tile" if windows.sound_pad == "tile" else "zero",
        "scale": config.sound_encoder.scale,
    }
    inputs: dict[str, Any] = {
        "image": ("frames", frames),
        "sound": ("waveform", waveform),
    }
    return {
        "name": name,
        "role": role,
        "made_by": {
            "abaw_jax": abaw_jax.__version__,
            **{each: importlib.metadata.version(each) for each in ("jax", "flax")},
        },
        "inputs": dict(inputs[stream] for stream in config.streams),
        "outputs": {
            "valence_arousal": list(AFFECT),
            "expressions": list(EXPRESSIONS),
            "action_units": list(ACTION_UNITS),
            "thresholds": [0.5] * len(ACTION_UNITS),
        },
        "data": {"name": run.data_name, "store": store.fingerprint},
        "untrained": rows.tasks_without_labels(run),
        "scores": result.get(role, {}),
        "intervals": result.get("intervals", {}).get(role, {}),
        "config": config.to_dict(),
    }
