#!/usr/bin/env bash
# Trains on a slice of Cloud TPU VMs.
#
#   launch/tpu_vm.sh create   asks for the slice and waits until it is there
#   launch/tpu_vm.sh run      sends the last commit to all hosts, installs it, starts the training
#   launch/tpu_vm.sh logs     follows one host's log; --worker=all fetches all to out/launch/NAME/
#   launch/tpu_vm.sh stop     stops the training after one more checkpoint
#   launch/tpu_vm.sh delete   gives the slice back; asks first, or --yes
#
# Flags, or variables of these names: --zone=Z is the same as ZONE=Z.
#   NAME, ZONE, PROJECT   of the slice; all commands need them
#   ACCELERATOR           create, run: v5litepod-16, v5litepod-256, v5p-128, v6e-64, ...
#   RUNTIME               create: another TPU software version than the generation's usual one
#   --spot, --reserved    create: cheap and taken away at any time, or of a reservation
#   BUCKET                run: a bucket's name, which all hosts mount at /bucket
#   CONFIG                run: configs/codec.py:256, say
#   WORKDIR               run: folder in the bucket; runs/NAME
#   MAX_RESTARTS          run: how often each host starts a training that failed again; 20
#   WORKER                logs: number of the host, or all; 0
#   --dry-run             prints the commands, one a line, and runs none
# Flags of the training follow --:
#   launch/tpu_vm.sh run --config=configs/codec.py:256 -- --config.batch_size=512
#
# A slice that was taken away is asked for again by `create`, and `run` goes on from the newest
# checkpoint. Commands are printed and run as seen from the repository's folder.
#
# Flags of gcloud: cloud.google.com/sdk/gcloud/reference/compute/tpus/queued-resources/create and
# .../delete, .../tpu-vm/ssh and scp; states: docs.cloud.google.com/tpu/docs/queued-resources.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/common.sh

# ssh WORKER COMMAND [FLAGS]
ssh_to() {
  local worker=$1 command=$2
  shift 2
  run gcloud compute tpus tpu-vm ssh "$NAME" "${WHERE[@]}" "--worker=$worker" "$@" \
    "--command=$command"
}

state() {
  ask gcloud compute tpus queued-resources describe "$NAME" "${WHERE[@]}" \
    '--format=value(state.state)'
}

create() {
  local found flags=()
  slice
  capacity
  [[ -z ${SPOT:-} ]] || flags+=(--spot)
  [[ -z ${RESERVED:-} ]] || flags+=(--reserved)
  found=$(state)
  if [[ $found == SUSPENDED || $found == FAILED ]]; then # taken away, or never got
    run gcloud compute tpus queued-resources delete "$NAME" "${WHERE[@]}" --force --quiet
    found=
  fi
  if [[ -z $found ]]; then
    run gcloud compute tpus queued-resources create "$NAME" "${WHERE[@]}" "--node-id=$NAME" \
      "--accelerator-type=$ACCELERATOR" "--runtime-version=${RUNTIME:-$SYSTEM_RUNTIME}" \
      ${flags[@]+"${flags[@]}"}
  fi
  [[ -z $DRY_RUN ]] || return 0
  until found=$(state) && [[ $found == ACTIVE ]]; do
    [[ $found != FAILED && $found != SUSPENDED ]] || {
      echo "error: the request became $found: the same command asks again" >&2
      exit 1
    }
    echo "$NAME is ${found:-not known yet}"
    sleep "${PAUSE:-30}"
  done
  echo "$NAME is there"
}

run_training() {
  local flags restarts=${MAX_RESTARTS:-20}
  require BUCKET
  slice
  training_flags
  [[ -z $(git status --porcelain) ]] || echo 'note: what is not committed is not sent' >&2
  run mkdir -p out/launch
  run git archive --format=tar.gz --output=out/launch/tree.tar.gz HEAD
  run gcloud compute tpus tpu-vm scp out/launch/tree.tar.gz "$NAME:" "${WHERE[@]}" --worker=all
  # A host that trains holds train.lock: nothing is changed under it, and none trains twice. Setting
  # up leaves gcsfuse running, which must not inherit the lock.
  ssh_to all "(flock --nonblock 9 || { echo 'error: a training runs here: stop it first' >&2; exit 2; }; \
rm -rf tree && mkdir tree && tar -xzf tree.tar.gz -C tree && bash tree/launch/setup.sh \
--bucket=$(quoted "$BUCKET") 9>&-) 9> train.lock"
  flags=$(quoted "${TRAIN_FLAGS[@]}")
  ssh_to all "CHIP=$CHIP MAX_RESTARTS=$restarts PYTHON=\$HOME/venv/bin/python nohup setsid flock --nonblock \
--close train.lock bash tree/launch/train.sh $flags > train.log 2>&1 < /dev/null &"
}

logs() {
  local worker=${WORKER:-0}
  if [[ $worker == all ]]; then
    run mkdir -p "out/launch/$NAME"
    ssh_to all 'cat train.log' "--output-directory=out/launch/$NAME"
  else
    ssh_to "$worker" 'tail --lines=+1 --follow=name --retry train.log'
  fi
}

stop() {
  # The brackets keep the pattern from finding the shell that looks for it.
  ssh_to all "pkill --signal TERM --full '^bash tree/[l]aunch/train.sh'"
}

delete() {
  confirm "Delete $NAME in $ZONE, with all that is on its disks?"
  run gcloud compute tpus queued-resources delete "$NAME" "${WHERE[@]}" --force --quiet
}

VERB=${1:---help}
(($# == 0)) || shift
case $VERB in
  create | logs | stop | delete) ;;
  run) VERB=run_training ;;
  --help | -h)
    usage
    exit 0
    ;;
  *) die "'$VERB' is not a command: create, run, logs, stop or delete" ;;
esac
parse 'NAME ZONE PROJECT ACCELERATOR RUNTIME BUCKET CONFIG WORKDIR MAX_RESTARTS WORKER' \
  'SPOT RESERVED' "$@"
require NAME ZONE PROJECT
WHERE=("--zone=$ZONE" "--project=$PROJECT")
"$VERB"
