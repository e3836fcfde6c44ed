#!/bin/bash
# One machine, a process a GPU. Start it with:   DATA=/data/imagenet sbatch examples/slurm_one_node.sh
#
# Two minutes before the time limit Slurm sends SIGUSR1 to the processes of the step: the run saves after the step it is in
# and ends with exit code 75. The job then puts itself back into the queue, and the same command goes on from there.

#SBATCH --job-name=lewel
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=12
#SBATCH --time=24:00:00
#SBATCH --signal=USR1@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=lewel-%j.log

RECIPE=${RECIPE:-lewel_b_in1k_100ep}
DATA=${DATA:?set it to the folder of images}
RUN=${RUN:-runs/$RECIPE}

# All processes see all GPUs of the machine and take the one of their number, so no --gpus-per-task here.
# --wait: when one process has ended, the others get five minutes to end too.
srun --cpus-per-task="$SLURM_CPUS_PER_TASK" --kill-on-bad-exit=0 --wait=300 \
    lewel pretrain "$RECIPE" --data "$DATA" --out "$RUN"
code=$?

if [ "$code" -eq 75 ]; then
    exec scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
