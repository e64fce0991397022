#!/usr/bin/env bash
# Runs on every host of a slice: an interpreter, the package, and the bucket at /bucket.
#
#   launch/setup.sh --bucket=NAME [--python=3.12] [--dry-run]
#
# The system's Python is older than the package needs, and is left alone: uv fetches one of its own.
# A bucket with a hierarchical namespace renames folders at once; in another, renaming one is
# copying all in it.
#
# uv: docs.astral.sh/uv/getting-started/installation; the package of gcsfuse and its flags:
# cloud.google.com/storage/docs/cloud-storage-fuse/install and .../gcsfuse-cli.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/common.sh

parse 'BUCKET PYTHON' '' "$@"
require BUCKET
export PATH=$HOME/.local/bin:$PATH

command -v uv > /dev/null || run sh -c 'curl -LsSf https://astral.sh/uv/install.sh | sh'
run uv venv --quiet --clear --python "${PYTHON:-3.12}" "$HOME/venv"
run uv pip install --quiet --python "$HOME/venv/bin/python" '.[tpu,train]'

if ! command -v gcsfuse > /dev/null; then
  run sudo sh -c 'curl -fsSL https://packages.cloud.google.com/apt/doc/apt-key.gpg > \
/usr/share/keyrings/cloud.google.asc && echo "deb [signed-by=/usr/share/keyrings/cloud.google.asc] \
https://packages.cloud.google.com/apt gcsfuse-$(lsb_release -c -s) main" > \
/etc/apt/sources.list.d/gcsfuse.list && apt-get update -q && apt-get install -q -y gcsfuse'
fi
if ! mountpoint -q /bucket; then
  run sudo install -d -o "$(id -un)" /bucket
  run gcsfuse --implicit-dirs --rename-dir-limit=1000000 "$BUCKET" /bucket
fi
