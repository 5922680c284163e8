"""What starts a run of many processes, as far as that goes without a cluster."""

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

LAUNCH = Path(__file__).parents[2] / "launch"

TOLD = """#!/bin/bash
echo "$(basename "$0") $*" >>"$CALLS"
exit "${STATUS:-0}"
"""


class Checkout:
    """The launch scripts among programs that only write down how they were called."""

    def __init__(self, folder):
        self.folder, self.calls = folder, folder / "calls"
        (folder / "launch").mkdir()
        for script in LAUNCH.iterdir():
            if script.is_file():
                copy = folder / "launch" / script.name
                copy.write_bytes(script.read_bytes())
                copy.chmod(0o755)
        (folder / "launch" / "environment.sh").write_text(
            'environment=.venv; fail() { echo "$*" >&2; exit 1; }\n'
        )
        for name in ("srun", "gcloud"):
            self.program(name, TOLD)

    def program(self, name, text):
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o755)

    def run(self, script, *arguments, **environment):
        system = {"PATH": f"{self.folder}:{os.environ['PATH']}"}
        done = subprocess.run(
            ["bash", self.folder / "launch" / script, *arguments],
            cwd=self.folder,
            env=system | {"CALLS": str(self.calls)} | environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        calls = self.calls.read_text().splitlines() if self.calls.exists() else []
        return done, sorted(calls)


@pytest.fixture
def checkout(tmp_path):
    return Checkout(tmp_path)


PYTHON = """#!/bin/bash
# The free port and nvidia-smi's neighbour are asked for with -c.
[[ "$1" != -c ]] || { echo 4321; exit; }
echo "$*" >>"$CALLS"
[[ "$*" != *,0/* ]] || exec sleep "${SECONDS_OF_FIRST:-0}"
# Else the first could be ended before it wrote down its call.
until grep -q ,0/ "$CALLS"; do sleep 0.01; done
exit "${STATUS:-0}"
"""


def test_processes_on_one_machine_are_reported_their_places(checkout):
    checkout.program("python", PYTHON)
    done, calls = checkout.run("run.sh", "--processes", "3", "--config=x", "--y=a b")
    assert done.returncode == 0, done.stderr
    assert calls == [
        f"-m abaw_jax.main --config=x --y=a b --join=localhost:4321,{k}/3"
        for k in range(3)
    ]


def test_where_one_process_fails_the_others_are_ended(checkout):
    checkout.program("python", PYTHON)
    environment = {"STATUS": "7", "SECONDS_OF_FIRST": "90"}
    done, calls = checkout.run("run.sh", "--processes", "2", **environment)
    assert done.returncode == 7 and len(calls) == 2  # the first was ended


@pytest.mark.parametrize("number", ["", "0", "two"])
def test_a_number_of_processes_that_is_none_is_reported(checkout, number):
    checkout.program("python", PYTHON)
    done, calls = checkout.run("run.sh", "--processes", number)
    assert done.returncode == 1 and not calls
    assert done.stderr == f"--processes wants a number, got '{number}'.\n"


def test_slurm_starts_a_task_for_every_gpu(checkout):
    there = {"SLURM_SUBMIT_DIR": str(checkout.folder)}
    done, calls = checkout.run("slurm.sbatch", "--config=x", **there)
    assert done.returncode == 0, done.stderr
    (call,) = calls
    assert call.endswith("python -m abaw_jax.main --config=x --join=auto")
    settings = dict(
        re.findall(
            r"^#SBATCH --(\S+?)=(\S+)$", (LAUNCH / "slurm.sbatch").read_text(), re.M
        )
    )
    assert settings["ntasks-per-node"] == settings["gpus-per-node"]


def test_every_host_of_a_tpu_slice_runs_the_same(checkout):
    done, calls = checkout.run("tpu_vm.sh", "name", "zone", "--config=x", "--y=a b")
    assert done.returncode == 0, done.stderr
    (call,) = calls
    assert "ssh name --zone=zone --worker=all" in call
    command = call.partition("--command=")[2]
    assert command.endswith("launch/run.sh '--config=x' '--y=a b' --join=auto")
    done, _ = checkout.run("tpu_vm.sh", "name", "zone")
    assert done.returncode == 2 and done.stderr.startswith("usage:")


def test_the_hosts_of_a_jobset_agree_on_how_many_they_are():
    jobset = yaml.safe_load((LAUNCH / "jobset.yaml").read_text())
    name, (host,) = jobset["metadata"]["name"], jobset["spec"]["replicatedJobs"]
    job = host["template"]["spec"]
    (container,) = job["template"]["spec"]["containers"]
    *_, join = container["command"]
    place = re.fullmatch(r"--join=(\S+):\d+,\$\(JOB_COMPLETION_INDEX\)/(\d+)", join)
    assert job["completionMode"] == "Indexed"
    assert {job["parallelism"], job["completions"], int(place[2])} == {2}
    # JobSet names the first pod of the first job so, and the service like itself.
    assert place[1] == f"{name}-{host['name']}-0-0.{name}"
    mounts = {mount["name"] for mount in container["volumeMounts"]}
    assert mounts == {volume["name"] for volume in job["template"]["spec"]["volumes"]}


def test_slurm_packs_a_share_a_task_and_merges_without_an_array(checkout):
    there = {"SLURM_SUBMIT_DIR": str(checkout.folder), "SLURM_CPUS_PER_TASK": "4"}
    task = there | {"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_MAX": "99"}
    flags = "--release=R", "--store=S"
    checkout.run("prepare.sbatch", *flags, **task)
    checkout.run("prepare.sbatch", *flags, **task, SHARDS="200")
    done, calls = checkout.run("prepare.sbatch", *flags, "--merge", **there)
    assert done.returncode == 0, done.stderr
    call = "srun python -m abaw_jax.prepare --release=R --store=S "
    assert calls == [
        f"{call}--merge --workers=4",
        f"{call}--workers=4 --shards=100 --shard=7",
        f"{call}--workers=4 --shards=200 --shard=7",
    ]


def test_slurm_encodes_a_share_a_task(checkout):
    there = {"SLURM_SUBMIT_DIR": str(checkout.folder)}
    task = there | {"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_MAX": "99"}
    checkout.run("features.sbatch", "--config=x", **task)
    done, calls = checkout.run("features.sbatch", "--config=x", **task, SHARDS="200")
    assert done.returncode == 0, done.stderr
    call = "srun python -m abaw_jax.main --config=x"
    assert calls == [f"{call} --shards={n} --shard=7" for n in (100, 200)]


def test_a_jobset_packs_every_share_once_and_merges_them_after_that():
    jobset = yaml.safe_load((LAUNCH / "prepare_jobset.yaml").read_text())
    shard, merge = jobset["spec"]["replicatedJobs"]
    job = shard["template"]["spec"]
    commands = []
    for each in (shard, merge):
        pod = each["template"]["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        commands.append(container["command"])
        mounts = {mount["name"] for mount in container["volumeMounts"]}
        assert mounts == {volume["name"] for volume in pod["volumes"]}
    assert job["completionMode"] == "Indexed"
    assert f"--shards={job['completions']}" in commands[0]
    assert commands[0][-1] == "--shard=$(JOB_COMPLETION_INDEX)"
    assert commands[1] == [*commands[0][:-1], "--merge"]
    assert merge["dependsOn"] == [{"name": shard["name"], "status": "Complete"}]
