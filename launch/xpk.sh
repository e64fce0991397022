#!/usr/bin/env bash
# Trains on a TPU slice of a GKE cluster that xpk (github.com/AI-Hypercomputer/xpk) makes and knows.
#
#   launch/xpk.sh create   makes the cluster with one slice, or leaves it as it is, and mounts the
#                          bucket in it
#   launch/xpk.sh run      starts the training, an xpk workload
#   launch/xpk.sh logs     follows one host's log; --worker=all writes all to out/launch/NAME.log
#   launch/xpk.sh stop     removes the workload; the training saves a checkpoint first
#   launch/xpk.sh delete   removes the whole cluster; asks first, or --yes
#
# Flags, or variables of these names: --zone=Z is the same as ZONE=Z.
#   NAME, ZONE, PROJECT   NAME is the workload's; all commands need them
#   CLUSTER               the cluster's name; all commands need it
#   ACCELERATOR           create, run: v5litepod-16, v5litepod-256, v5p-128, v6e-64, ...
#   --spot, RESERVATION   create: cheap and taken away at any time, or a reservation's name
#   BUCKET                create: a bucket's name, which all hosts mount at /bucket
#   IMAGE                 run: a container image, made of launch/Dockerfile
#   CONFIG                run: configs/codec.py:256, say
#   WORKDIR               run: folder in the bucket; runs/NAME
#   MAX_RESTARTS          run: how often all hosts start anew when one failed; 20
#   GRACE                 run: seconds that a host gets to save a checkpoint; 300
#   WORKER                logs: number of the host, or all; 0
#   --dry-run             prints the commands, one a line, and runs none
# Flags of the training follow --:
#   launch/xpk.sh run --config=configs/codec.py:256 ... -- --config.batch_size=512
#
# Flags of xpk: its docs/usage/{clusters,workloads,storage}.md and src/xpk/parser/workload.py.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/common.sh

create() {
  local kind=--on-demand
  slice
  capacity
  require BUCKET
  [[ -z ${SPOT:-} ]] || kind=--spot
  [[ -z ${RESERVATION:-} ]] || kind="--reservation=$RESERVATION"
  run xpk cluster create "${XPK[@]}" "--tpu-type=$ACCELERATOR" --num-slices=1 "$kind" \
    --enable-gcsfuse-csi-driver
  run xpk storage attach bucket --type=gcsfuse "${XPK[@]}" --mount-point=/bucket --readonly=false \
    "--bucket=$BUCKET" --size=1 --auto-mount=true \
    --mount-options=implicit-dirs,rename-dir-limit=1000000
}

run_training() {
  local flags
  slice
  require IMAGE
  training_flags
  flags=$(quoted "${TRAIN_FLAGS[@]}")
  # xpk starts again after no other failure than these; 2 is a user's mistake. exec: SIGTERM reaches
  # the process that xpk started, and must find the training's script there.
  run xpk workload create "--workload=$NAME" "${XPK[@]}" "--tpu-type=$ACCELERATOR" --num-slices=1 \
    "--docker-image=$IMAGE" "--max-restarts=${MAX_RESTARTS:-20}" --restart-on-exit-codes=1,3-126 \
    "--termination-grace-period-seconds=${GRACE:-300}" --env=MAX_RESTARTS=0 \
    "--env=CHIP=$CHIP" \
    "--command=exec bash launch/train.sh $flags"
}

logs() {
  local worker=${WORKER:-0} of="--selector=jobset.sigs.k8s.io/jobset-name=$NAME"
  if [[ $worker == all ]]; then
    run mkdir -p out/launch
    run sh -c "$(quoted "${KUBECTL[@]}" logs "$of" --prefix --tail=-1) > \
$(quoted "out/launch/$NAME.log")"
  else
    run "${KUBECTL[@]}" logs "$of,batch.kubernetes.io/job-completion-index=$worker" --tail=-1 \
      --follow
  fi
}

stop() {
  run xpk workload delete "--workload=$NAME" "${XPK[@]}" --force
}

delete() {
  confirm "Delete the whole cluster $CLUSTER in $ZONE, with all that runs on it?"
  run xpk cluster delete "${XPK[@]}" --force
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
FLAGS='NAME ZONE PROJECT CLUSTER ACCELERATOR RESERVATION BUCKET IMAGE CONFIG WORKDIR'
parse "$FLAGS MAX_RESTARTS GRACE WORKER" 'SPOT' "$@"
require NAME ZONE PROJECT CLUSTER
XPK=("--cluster=$CLUSTER" "--zone=$ZONE" "--project=$PROJECT")
# xpk's clusters are regional; the name is the one that get-credentials gives.
KUBECTL=(kubectl "--context=gke_${PROJECT}_${ZONE%-*}_$CLUSTER")
"$VERB"
