#!/usr/bin/env bash
# Runs on every host of a slice: trains, and starts a training that failed again.
#
#   CHIP=v5e launch/train.sh --config=configs/codec.py:256 --workdir=/bucket/runs/codec
#   launch/train.sh --dry-run ...   prints the command
#
# All flags are the training's; --multihost is added. Exit status: the training's 0 when it is done
# and 2 when it refuses a user's mistake, which trying again would not mend; 143 when it was told to
# stop (SIGTERM, which it answers by a checkpoint), so that whoever runs the host starts it
# elsewhere; its own when it failed more than MAX_RESTARTS times.
#
# CHIP is v5e, v5p or v6e: the compiler gets that chip's flags (vidregen_jax/distributed/
# libtpu_flags.py), and what LIBTPU_INIT_ARGS holds after them, so that it prevails. Without CHIP
# there are no others. PYTHON is the interpreter; MAX_RESTARTS how often it is tried again, 20; PAUSE
# the seconds before another try, which the other hosts need to notice that this one failed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/common.sh

case ${1:-} in
  --help | -h)
    usage
    exit 0
    ;;
  --dry-run)
    DRY_RUN=1
    shift
    ;;
esac
[[ " $* " == *' --config='* && " $* " == *' --workdir='* ]] ||
  die 'the training needs --config=... and --workdir=...'
PYTHON=${PYTHON:-python3}
if [[ -n ${CHIP:-} ]]; then
  flags=$("$PYTHON" -m vidregen_jax.distributed.libtpu_flags "$CHIP")
  export LIBTPU_INIT_ARGS="$flags${LIBTPU_INIT_ARGS:+ $LIBTPU_INIT_ARGS}"
  [[ -z $DRY_RUN ]] || run export "LIBTPU_INIT_ARGS=$LIBTPU_INIT_ARGS"
fi
COMMAND=("$PYTHON" -m vidregen_jax.train --multihost "$@")
if [[ -n $DRY_RUN ]]; then
  run "${COMMAND[@]}"
  exit 0
fi

told=
child=
trap 'told=1; [[ -z $child ]] || kill -TERM "$child" 2> /dev/null || true' TERM

# In the background, as bash hears a signal only while it waits; a signal ends the waiting.
train() {
  "${COMMAND[@]}" &
  child=$!
  local status=0
  [[ -z $told ]] || kill -TERM "$child"
  wait "$child" || status=$?
  while kill -0 "$child" 2> /dev/null; do
    status=0
    wait "$child" || status=$?
  done
  child=
  return "$status"
}

restarts=0
while :; do
  status=0
  train || status=$?
  [[ -z $told ]] || exit 143
  ((status != 0 && status != 2)) || exit "$status"
  if ((restarts >= ${MAX_RESTARTS:-20})); then
    echo "training failed $((restarts + 1)) times, the last time with status $status: giving up" >&2
    exit "$status"
  fi
  restarts=$((restarts + 1))
  echo "training ended with status $status: restart $restarts" >&2
  sleep "${PAUSE:-10}"
  [[ -z $told ]] || exit 143
done
