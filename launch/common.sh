# shellcheck shell=bash
# Sourced by the launchers: how they read flags, fail, run commands and say what they would run.
# Nothing here needs a newer bash than 3.2, which macOS has.

exec 3>&1 # where --dry-run prints; what a function returns goes to 1

DRY_RUN=${DRY_RUN:-} YES=${YES:-}
TRAINING=() # what follows -- on the command line: flags of the training

die() {
  echo "error: $*" >&2
  exit 2
}

# The comment at the top of a script is its help.
usage() {
  sed -n '2,/^[^#]/ s/^# \{0,1\}//p' "$0"
}

# parse "NAME ..." "SWITCH ..." FLAGS: --some-name=value sets SOME_NAME, a switch alone is set to 1.
parse() {
  local known=" $1 " switches=" $2 DRY_RUN YES " name variable
  shift 2
  while (($#)); do
    case $1 in
      --help | -h)
        usage
        exit 0
        ;;
      --)
        shift
        TRAINING=("$@")
        return
        ;;
      --*)
        name=${1#--}
        name=${name%%=*}
        variable=$(tr 'a-z-' 'A-Z_' <<< "$name")
        if [[ $switches == *" $variable "* && $1 != *=* ]]; then
          printf -v "$variable" 1
        elif [[ $known == *" $variable "* && $1 == *=* ]]; then
          printf -v "$variable" %s "${1#*=}"
        else
          die "$1 is not a flag: flags are --name=value, $0 --help lists them"
        fi
        ;;
      *) die "'$1' is not a flag: flags of the training follow --" ;;
    esac
    shift
  done
}

# require NAME ...: each has a value.
require() {
  local name
  for name; do
    [[ -n ${!name:-} ]] ||
      die "$name is missing: give --$(tr 'A-Z_' 'a-z-' <<< "$name")=... or set it"
  done
}

# Words as a shell reads them, on one line.
quoted() {
  local word line='' plain='^[A-Za-z0-9_./:=@,+%-]+$'
  for word; do
    if [[ $word =~ $plain ]]; then
      line+=" $word"
    elif [[ $word != *[\'$'\n']* ]]; then
      line+=" '$word'"
    elif [[ $word != *[\"\$\`\\\!$'\n']* ]]; then
      line+=" \"$word\""
    else
      line+=" $(printf %q "$word")"
    fi
  done
  echo "${line# }"
}

# Runs a command; with --dry-run prints it.
run() {
  if [[ -n $DRY_RUN ]]; then quoted "$@" >&3; else "$@"; fi
}

# feed TEXT COMMAND: the same with a text on the command's standard input.
feed() {
  local text=$1
  shift
  if [[ -n $DRY_RUN ]]; then echo "$(quoted "$@") <<< $(quoted "$text")" >&3; else "$@" <<< "$text"; fi
}

# What a command that may fail says of something that may not be there; with --dry-run nothing.
ask() {
  if [[ -n $DRY_RUN ]]; then quoted "$@" >&3; else "$@" 2> /dev/null || true; fi
}

# Goes on if a person, or --yes, says so.
confirm() {
  local answer
  [[ -n $YES || -n $DRY_RUN ]] && return
  [[ -t 0 ]] || die "$1 Nobody is here to ask: give --yes"
  read -r -p "$1 [y/N] " answer
  [[ $answer == [yY]* ]] || exit 1
}

# The command line of a training, after launch/train.sh. The bucket is mounted at /bucket.
training_flags() {
  require CONFIG
  TRAIN_FLAGS=("--config=$CONFIG" "--workdir=/bucket/${WORKDIR:-runs/$NAME}")
  ((${#TRAINING[@]} == 0)) || TRAIN_FLAGS+=("${TRAINING[@]}")
}

# What is to be known of an ACCELERATOR, v5litepod-16 say. The number counts chips, for v5p cores,
# two a chip. CHIP is its name in planning and in the compiler's flags. Runtime versions: docs.cloud.google.com/tpu/docs/runtimes. Labels and machines, of 4
# chips a host: AI-Hypercomputer/xpk src/xpk/core/system_characteristics.py, and
# cloud.google.com/kubernetes-engine/docs/concepts/plan-tpus.
slice() {
  require ACCELERATOR
  local count=${ACCELERATOR##*-}
  [[ $count =~ ^[1-9][0-9]*$ ]] || die "ACCELERATOR $ACCELERATOR has no size: v5litepod-16, say"
  case $ACCELERATOR in
    v5litepod-*) CHIP=v5e CHIPS=$count SYSTEM_RUNTIME=v2-alpha-tpuv5-lite
      LABEL=tpu-v5-lite-podslice MACHINE=ct5lp-hightpu-4t ;;
    v5p-*) CHIP=v5p CHIPS=$((count / 2)) SYSTEM_RUNTIME=v2-alpha-tpuv5
      LABEL=tpu-v5p-slice MACHINE=ct5p-hightpu-4t ;;
    v6e-*) CHIP=v6e CHIPS=$count SYSTEM_RUNTIME=v2-alpha-tpuv6e
      LABEL=tpu-v6e-slice MACHINE=ct6e-standard-4t ;;
    *) die "ACCELERATOR $ACCELERATOR is not known here: it is v5litepod-N, v5p-N or v6e-N" ;;
  esac
  ((CHIPS % 4 == 0)) || die "ACCELERATOR $ACCELERATOR is less than a host: 4 chips or more"
  export CHIP CHIPS SYSTEM_RUNTIME LABEL MACHINE # read by the launchers
}

# Spot or reserved, not both.
capacity() {
  [[ -z ${SPOT:-} || -z ${RESERVED:-}${RESERVATION:-} ]] ||
    die 'SPOT and a reservation exclude each other: give one'
}
