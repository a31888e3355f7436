#!/bin/bash
# One batch as an array of jobs that know nothing of each other, each with a part of the rows:
#   SERVERS='http://gpu01:8000/v1 http://gpu02:8000/v1' sbatch --array=1-32 deploy/cluster/shards.slurm.sh MEDIA OUT
# A row's part follows from the hash of its id, so the same command goes on where it stopped; one part alone with
# SHARDS=32 and --array=7. It needs no Ray; parts that have more to do than others end later.
#SBATCH --job-name=affectgpt-shard
#SBATCH --array=1-32
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=16
#SBATCH --mem-per-cpu=2G
#SBATCH --time=24:00:00
#SBATCH --output=affectgpt-%A-%a.log
set -euo pipefail

if [ "${SLURM_ARRAY_TASK_MIN:-}" = 1 ]; then shards=${SHARDS:-$SLURM_ARRAY_TASK_MAX}; else shards=${SHARDS:-}; fi
if [ "$#" -ne 2 ] || [ -z "${SERVERS:-}" ] || [ -z "$shards" ]; then
  echo "usage: SERVERS='http://host:8000/v1 …' sbatch --array=1-N shards.slurm.sh MEDIA OUT" >&2
  exit 2
fi
urls=()
for server in $SERVERS; do urls+=(--base-url "$server"); done

exec affectgpt batch "$1" -o "$2" --shard "$SLURM_ARRAY_TASK_ID/$shards" "${urls[@]}"
