#!/bin/bash
# One batch over several nodes of a SLURM cluster, as one Ray cluster that lives as long as the job:
#   SERVERS='http://gpu01:8000/v1 http://gpu02:8000/v1' sbatch --nodes=8 deploy/cluster/ray.slurm.sh MEDIA OUT
# MEDIA and OUT lie on a file system that all nodes share. The same command goes on where it stopped, also after the
# time limit. Where nodes cannot reach each other: deploy/cluster/shards.slurm.sh.
#SBATCH --job-name=affectgpt-batch
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --mem-per-cpu=2G
#SBATCH --time=24:00:00
#SBATCH --output=affectgpt-%j.log
set -euo pipefail

if [ "$#" -ne 2 ] || [ -z "${SERVERS:-}" ]; then
  echo "usage: SERVERS='http://host:8000/v1 …' sbatch ray.slurm.sh MEDIA OUT" >&2
  exit 2
fi
urls=()
for server in $SERVERS; do urls+=(--base-url "$server"); done

export RAY_USAGE_STATS_ENABLED=0
# Whoever reaches a Ray runs programs on it: nodes are shared with others, so each job has a secret of its own.
RAY_AUTH_TOKEN=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN
port=$((6379 + SLURM_JOB_ID % 20000))
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)

# The command runs on the first node once all have joined, and Ray ends with it.
exec srun --kill-on-bad-exit=1 ray symmetric-run \
  --address "$head:$port" --min-nodes "$SLURM_JOB_NUM_NODES" --num-cpus="$SLURM_CPUS_PER_TASK" -- \
  affectgpt batch "$1" -o "$2" --runner ray --ray-address "$head:$port" "${urls[@]}"
