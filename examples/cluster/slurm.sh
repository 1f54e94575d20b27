#!/bin/bash
# Fine-tunes on several nodes, a process for each GPU. Every argument goes to `tl finetune`:
#
#   sbatch examples/cluster/slurm.sh /shared/photos --arch resnet50 --batch-size 512
#
# The run folder is runs/slurm-JOB, on a disk that all nodes share. Two minutes before the time limit the job queues
# itself again and then resumes. To resume a run in a new job: sbatch --export=ALL,RUN=runs/slurm-JOB slurm.sh
#
#SBATCH --job-name=tl
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=32
#SBATCH --mem=128G
#SBATCH --time=08:00:00
#SBATCH --signal=B:USR1@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.out

set -euo pipefail

run=${RUN:-runs/slurm-$SLURM_JOB_ID}
if [[ -f $run/config.yaml ]]; then
  arguments=(--resume "$run")
else
  arguments=("$@" --out "$run")
fi

# Slurm then sends SIGTERM to the job: tl finishes its step and saves, as after Ctrl-C.
trap 'scontrol requeue "$SLURM_JOB_ID"' USR1

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
# srun does not take --cpus-per-task from the job; without it a node's processes share one core.
srun --kill-on-bad-exit=1 --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" torchrun \
  --nnodes="$SLURM_JOB_NUM_NODES" \
  --nproc-per-node="${SLURM_GPUS_ON_NODE:-1}" \
  --rdzv-backend=c10d \
  --rdzv-endpoint="${nodes[0]}:$((20000 + SLURM_JOB_ID % 10000))" \
  --rdzv-id="$SLURM_JOB_ID" \
  -m tl_toolkit finetune "${arguments[@]}" &
step=$!
wait "$step" || wait "$step" # The first wait also ends when the trap has run.
