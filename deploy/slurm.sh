#!/bin/bash
# Training on several nodes: sbatch deploy/slurm.sh --data=LOG --workdir=DIR [--config...]
# The project and DIR must be on a file system that all nodes share.
#SBATCH --job-name=ufnrec
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --mem=32G
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --signal=TERM@300
# With GPUs: one task a GPU, so that each sees its own.
##SBATCH --gpus-per-task=1

# SIGTERM, 300 s before the time is up or at preemption, goes to the tasks: each writes a
# checkpoint and exits with 143. The job is then queued again and resumes from there.
srun .venv/bin/python main.py --config.distribution.strategy=multi_worker "$@"
code=$?
if [ "$code" -eq 143 ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
