#!/usr/bin/env bash
# The program out of its image, for whoever has docker and no Rust toolchain:
#   export WORKER_IMAGE=111122223333.dkr.ecr.eu-west-1.amazonaws.com/tagwarden:0.1.0
#   deploy/tagwarden.sh check --config tagwarden.toml
# It sees the current folder, the variables TAGWARDEN_*, and the caller's credentials for as long as
# they last, if the AWS command line has any.
set -euo pipefail
: "${WORKER_IMAGE:?is the image to run, with its registry}"

options=(--rm --interactive --user "$(id -u):$(id -g)" --volume "$PWD:$PWD" --workdir "$PWD")
if [[ -t 0 && -t 1 ]]; then options+=(--tty); fi
while read -r name; do
  case $name in
    TAGWARDEN_* | AWS_REGION | AWS_DEFAULT_REGION | NO_COLOR) options+=(--env "$name") ;;
  esac
done < <(compgen -e)
# By no option, which every user of the machine could read.
credentials=$(aws configure export-credentials --format env-no-export 2>/dev/null) || credentials=''
exec docker run "${options[@]}" --env-file <(printf '%s\n' "$credentials") "$WORKER_IMAGE" "$@"
