#!/bin/bash
# Several machines, a process a GPU; otherwise as slurm_one_node.sh. The run folder must be on a disk that all machines see.
# Start it with:   DATA=/data/imagenet sbatch --nodes=4 examples/slurm_nodes.sh
#
# The processes meet at the first machine of the job, on a port made from the job's number; MASTER_ADDR and MASTER_PORT
# override both.

#SBATCH --job-name=lewel
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=12
#SBATCH --time=24:00:00
#SBATCH --signal=USR1@180
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=lewel-%j.log

RECIPE=${RECIPE:-lewel_b_in1k_400ep}
DATA=${DATA:?set it to the folder of images}
RUN=${RUN:-runs/$RECIPE}

# If the machines have several network interfaces, name the fast one:
# export NCCL_SOCKET_IFNAME=ib0 GLOO_SOCKET_IFNAME=ib0

# --wait: when one process has ended, the others get five minutes to end too.
srun --cpus-per-task="$SLURM_CPUS_PER_TASK" --kill-on-bad-exit=0 --wait=300 \
    lewel pretrain "$RECIPE" --data "$DATA" --out "$RUN"
code=$?

if [ "$code" -eq 75 ]; then
    exec scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
