#!/bin/bash
# sbatch --nodes=2 --gpus-per-node=1 cluster/deploy/slurm.sh
# Further settings of the run may follow: sbatch --nodes=4 --gpus-per-node=2 cluster/deploy/slurm.sh seed=1 name=fashion-m3d-1
#
# One Ray cluster for this job: the head on the first node, a worker on each other one, the run, and all of it ends together.
# stillhouse has to be installed at the same path on all nodes (VENV), and SHARED has to be one file system for all of them.
#SBATCH --job-name=stillhouse
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --mem=32G
#SBATCH --time=12:00:00
# Whoever reaches a Ray cluster's ports and token runs code in it: no other job on these nodes.
#SBATCH --exclusive
set -euo pipefail

VENV=${VENV:-$HOME/stillhouse/.venv}
SHARED=${SHARED:-/mnt/stillhouse}
PATH=$VENV/bin:$PATH

# A token for this job alone, in a file that only this user reads. $HOME is taken to be shared by the nodes.
private=$(mktemp --directory "$HOME/.stillhouse-XXXXXXXX")
python -c 'import secrets; print(secrets.token_hex(32))' >"$private/token"
chmod 600 "$private/token"
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$private/token
export RAY_USAGE_STATS_ENABLED=0 RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO=1
unset RAY_AUTH_TOKEN RAY_ADDRESS

steps=()
cleanup() {
    if ((${#steps[@]})); then kill "${steps[@]}" 2>/dev/null || true; fi
    wait || true
    rm -rf "$private"
}
trap cleanup EXIT

mapfile -t hosts < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head_ip=$(hostname --ip-address | awk '{print $1}') # This script runs on the first node.
case $head_ip in
127.*) echo "the name of $(hostname) means loopback: correct /etc/hosts" >&2 && exit 1 ;;
esac
address=$head_ip:$((20000 + SLURM_JOB_ID % 10000))
gpus=${SLURM_GPUS_ON_NODE:-0}
node=(--num-cpus="$SLURM_CPUS_PER_TASK" --num-gpus="$gpus" --labels=pool=gpu --block)
step=(srun --ntasks-per-node=1 --cpus-per-task="$SLURM_CPUS_PER_TASK")

# No dashboard: nothing is submitted to this cluster from outside.
"${step[@]}" --nodes=1 --ntasks=1 --nodelist="${hosts[0]}" \
    ray start --head --node-ip-address="$head_ip" --port="${address##*:}" --include-dashboard=false \
    --temp-dir="/tmp/ray-$SLURM_JOB_ID" "${node[@]}" &
steps+=($!)
if ((${#hosts[@]} > 1)); then
    others=$(IFS=, && echo "${hosts[*]:1}")
    # A worker that starts before the head tries again.
    "${step[@]}" --nodes=$((${#hosts[@]} - 1)) --ntasks=$((${#hosts[@]} - 1)) --nodelist="$others" \
        bash -c 'for _ in {1..30}; do ray health-check --address "$1" >/dev/null 2>&1 && break; sleep 2; done
                 exec ray start --address="$1" "${@:2}"' worker "$address" "${node[@]}" &
    steps+=($!)
fi

python - "$address" "${#hosts[@]}" <<'PYTHON'
"""Wait until all nodes have joined."""
import sys
import time

import ray

address, wanted = sys.argv[1], int(sys.argv[2])
deadline = time.monotonic() + 300
joined = 0
while joined < wanted:
    if time.monotonic() > deadline:
        sys.exit(f"{joined} of {wanted} nodes joined Ray within five minutes; look at the steps' output above")
    time.sleep(3)
    try:
        ray.init(address=address, ignore_reinit_error=True, log_to_driver=False)
        joined = sum(node["Alive"] for node in ray.nodes())
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError):
        continue
PYTHON

workers=$((${#hosts[@]} * gpus))
# A method that charges a ledger needs privacy.ledger as well: SQLite must not lie on $SHARED (docs/cluster.md, "Storage").
stillhouse run method=m3d method.ipc=10 data=fashion_mnist data.root="$SHARED/data/fashion-mnist" \
    root="$SHARED/runs" name=fashion-m3d \
    cluster=remote cluster.address="$address" cluster.workers="$workers" cluster.cpus_per_worker=4 cluster.use_gpu=true "$@"
