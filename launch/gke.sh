#!/usr/bin/env bash
# Trains on a TPU slice of a GKE cluster that has JobSet and the Cloud Storage FUSE driver.
#
#   launch/gke.sh create     makes a node pool that is one slice
#   launch/gke.sh run        starts the training, a JobSet
#   launch/gke.sh manifest   prints that JobSet
#   launch/gke.sh logs       follows one host's log; --worker=all writes all to out/launch/NAME/
#   launch/gke.sh stop       removes the JobSet; the training saves a checkpoint first
#   launch/gke.sh delete     removes JobSet and node pool; asks first, or --yes
#
# Flags, or variables of these names: --zone=Z is the same as ZONE=Z.
#   NAME, ZONE, PROJECT   of the node pool and the JobSet; all commands need them
#   CLUSTER               the cluster's name; all commands need it
#   LOCATION              the cluster's own zone or region; ZONE
#   ACCELERATOR           create, run: v5litepod-16, v5litepod-256, v5p-128, v6e-64, ...
#   TOPOLOGY              create, run: another one than xpk's usual, 4x4x8 say
#   --spot, RESERVATION   create, run: cheap and taken away at any time, or a reservation's name
#   IMAGE                 run: a container image, made of launch/Dockerfile
#   BUCKET                run: a bucket's name, which all hosts mount at /bucket
#   CONFIG                run: configs/codec.py:256, say
#   WORKDIR               run: folder in the bucket; runs/NAME
#   MAX_RESTARTS          run: how often all hosts start anew when one failed; 20
#   GRACE                 run: seconds that a host gets to save a checkpoint; 300
#   SERVICE_ACCOUNT       run: the Kubernetes account that may write to the bucket; default
#   WORKER                logs: number of the host, or all; 0
#   --dry-run             prints the commands, one a line, and runs none
# Flags of the training follow --:
#   launch/gke.sh run --config=configs/codec.py:256 ... -- --config.batch_size=512
#
# Before the first command: gcloud container clusters get-credentials CLUSTER --location=LOCATION
#
# Flags of gcloud: cloud.google.com/sdk/gcloud/reference/container/node-pools/create; labels of a
# JobSet's pods: kubernetes-sigs/jobset and kubernetes.io/docs/concepts/workloads/controllers/job.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/common.sh

# The usual topology of a number of chips (default_topologies of xpk's system_characteristics.py),
# and its hosts, of 4 chips each.
shape() {
  local side product=1 usual
  slice
  if [[ $ACCELERATOR == v5p-* ]]; then
    case $CHIPS in
      4) usual=2x2x1 ;; 8) usual=2x2x2 ;; 16) usual=2x2x4 ;; 32) usual=2x4x4 ;;
      64) usual=4x4x4 ;; 128) usual=4x4x8 ;; 256) usual=4x8x8 ;; 512) usual=8x8x8 ;;
      1024) usual=8x8x16 ;; *) usual= ;;
    esac
  else
    case $CHIPS in
      4) usual=2x2 ;; 8) usual=2x4 ;; 16) usual=4x4 ;; 32) usual=4x8 ;; 64) usual=8x8 ;;
      128) usual=8x16 ;; 256) usual=16x16 ;; *) usual= ;;
    esac
  fi
  TOPOLOGY=${TOPOLOGY:-$usual}
  [[ $TOPOLOGY =~ ^[0-9]+(x[0-9]+)+$ ]] || die "TOPOLOGY of $ACCELERATOR is not known: give 4x4x8, say"
  for side in ${TOPOLOGY//x/ }; do product=$((product * side)); done
  ((product == CHIPS)) ||
    die "TOPOLOGY $TOPOLOGY has $product chips, but ACCELERATOR $ACCELERATOR has $CHIPS"
  HOSTS=$((CHIPS / 4))
}

create() {
  local flags=()
  shape
  capacity
  [[ -z ${SPOT:-} ]] || flags+=(--spot)
  [[ -z ${RESERVATION:-} ]] ||
    flags+=(--reservation-affinity=specific "--reservation=$RESERVATION")
  # A single host has no topology to choose.
  ((HOSTS == 1)) || flags+=("--tpu-topology=$TOPOLOGY")
  [[ -z $(ask gcloud container node-pools describe "$NAME" "${POOL[@]}" '--format=value(name)') ]] || {
    echo "$NAME is there"
    return
  }
  run gcloud container node-pools create "$NAME" "${POOL[@]}" "--node-locations=$ZONE" \
    "--machine-type=$MACHINE" "--num-nodes=$HOSTS" ${flags[@]+"${flags[@]}"}
}

# A word as JSON.
json() {
  local word=$1
  word=${word//\\/\\\\}
  printf '"%s"' "${word//\"/\\\"}"
}

manifest() {
  local text flag name
  require IMAGE BUCKET
  training_flags
  shape
  MAX_RESTARTS=${MAX_RESTARTS:-20} GRACE=${GRACE:-300} SERVICE_ACCOUNT=${SERVICE_ACCOUNT:-default}
  ARGUMENTS=
  for flag in "${TRAIN_FLAGS[@]}"; do ARGUMENTS+=", $(json "$flag")"; done
  text=$(sed 's/ *# .*//; s/^#$//; /^$/d' launch/jobset.yaml) # without its comments
  for name in NAME CHIP LABEL TOPOLOGY HOSTS IMAGE BUCKET ARGUMENTS MAX_RESTARTS GRACE SERVICE_ACCOUNT; do
    text=${text//"\${$name}"/"${!name}"}
  done
  echo "$text"
}

run_training() {
  local text
  text=$(manifest)
  feed "$text" "${KUBECTL[@]}" apply --filename=-
}

logs() {
  local worker=${WORKER:-0} i label='batch.kubernetes.io/job-completion-index'
  local of="--selector=jobset.sigs.k8s.io/jobset-name=$NAME"
  if [[ $worker == all ]]; then
    shape
    run mkdir -p "out/launch/$NAME"
    for ((i = 0; i < HOSTS; i++)); do
      run sh -c "$(quoted "${KUBECTL[@]}" logs "$of,$label=$i" --container=train --tail=-1) > \
$(quoted "out/launch/$NAME/$i.log")"
    done
  else
    run "${KUBECTL[@]}" logs "$of,$label=$worker" --container=train --tail=-1 --follow
  fi
}

stop() {
  run "${KUBECTL[@]}" delete jobset "$NAME" --ignore-not-found
}

delete() {
  confirm "Delete the node pool $NAME of $CLUSTER, and its training?"
  stop
  run gcloud container node-pools delete "$NAME" "${POOL[@]}" --quiet
}

VERB=${1:---help}
(($# == 0)) || shift
case $VERB in
  create | manifest | logs | stop | delete) ;;
  run) VERB=run_training ;;
  --help | -h)
    usage
    exit 0
    ;;
  *) die "'$VERB' is not a command: create, run, manifest, logs, stop or delete" ;;
esac
FLAGS='NAME ZONE PROJECT CLUSTER LOCATION ACCELERATOR TOPOLOGY RESERVATION IMAGE BUCKET CONFIG'
parse "$FLAGS WORKDIR MAX_RESTARTS GRACE SERVICE_ACCOUNT WORKER" 'SPOT' "$@"
require NAME ZONE PROJECT CLUSTER
LOCATION=${LOCATION:-$ZONE}
POOL=("--cluster=$CLUSTER" "--location=$LOCATION" "--project=$PROJECT")
# The name that get-credentials gives; no other cluster is ever meant.
KUBECTL=(kubectl "--context=gke_${PROJECT}_${LOCATION}_$CLUSTER")
"$VERB"
