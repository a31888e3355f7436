#!/bin/sh
# The container's first process: takes the model server's key from a file, so that it stands in no image, no compose
# file and no `docker inspect`, and becomes affectgpt.
set -eu
if [ -n "${AFFECTGPT_SERVE_API_KEY_FILE:-}" ]; then
  AFFECTGPT_SERVE_API_KEY=$(cat "$AFFECTGPT_SERVE_API_KEY_FILE")
  export AFFECTGPT_SERVE_API_KEY
fi
unset AFFECTGPT_SERVE_API_KEY_FILE
exec affectgpt "$@"
