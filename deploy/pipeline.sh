#!/usr/bin/env bash
# What a pipeline does with the image of a commit, one step a call. deploy/buildspec.yml (CodeBuild)
# and .github/workflows/deploy.yml call the same steps. Needs bash, version 2 of the AWS command
# line, docker with buildx, and jq.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
  cat <<'END'
usage:
  deploy/pipeline.sh build            build the image of COMMIT and push it under that name; prints it by its digest
  deploy/pipeline.sh scanned IMAGE    wait for its findings, and judge it by POLICY
  deploy/pipeline.sh signed IMAGE     wait for its signature
  deploy/pipeline.sh propose IMAGE    say what a deployment would change
  deploy/pipeline.sh name IMAGE       name it by version and commit as well: it is approved
  deploy/pipeline.sh deploy IMAGE     make the stack, or change it, and say what became of it

variables:
  REPOSITORY           the repository with its registry: 111122223333.dkr.ecr.eu-west-1.amazonaws.com/tagwarden
  COMMIT, COMMITTED    the commit's id and its time; SOURCE: where it comes from
  POLICY               the file with the policy to judge by; empty: no Critical, no High
  UNSCANNED            accept: an image that no scan covers passes; default refuse
  STACK, BUCKET, CLOUDFORMATION_ROLE   of the stack, as in docs/install.md
  PARAMETERS           the stack's parameters and tags, default deploy/parameters.json
  INTERVAL, PATIENCE   seconds between looks, default 30, and looks before it is given up, default 120

Every step prints the image when it has succeeded. Exit codes: 0 done; 1 failed; 2 refused.
END
}

REPOSITORY=${REPOSITORY:-}
REGISTRY=${REPOSITORY%%/*} NAME=${REPOSITORY#*/}
INTERVAL=${INTERVAL:-30} PATIENCE=${PATIENCE:-120} UNSCANNED=${UNSCANNED:-refuse}
STACK=${STACK:-tagwarden} PARAMETERS=${PARAMETERS:-deploy/parameters.json}

say() { printf '%s\n' "$*" >&2; }
refuse() { say "refused: $*"; exit 2; }
failed() { say "FAILED: $*"; exit 1; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

log_in() { aws ecr get-login-password | docker login --username AWS --password-stdin "$REGISTRY" >&2; }

# The digest of a tag; nothing if there is no such tag.
digest_of() {
  local said
  if said=$(aws ecr describe-images --repository-name "$NAME" --image-ids imageTag="$1" \
    --query 'imageDetails[0].imageDigest' --output text 2>&1); then
    printf '%s' "$said"
  else
    [[ $said == *ImageNotFoundException* ]] || failed "$NAME cannot be read: $said"
  fi
}

build() {
  local version digest epoch
  [[ ${COMMIT:-} =~ ^[0-9a-f]{40}$ ]] || refuse "COMMIT is no commit id: ${COMMIT:-}"
  digest=$(digest_of "$COMMIT")
  if [[ -n $digest ]]; then
    # Somebody tries again. The tag is immutable, and the same commit gives the same program.
    say "$COMMIT is there already"
  else
    version=$(cargo_version)
    epoch=$(date --utc --date "${COMMITTED:?}" +%s)
    log_in
    docker buildx create --use --driver docker-container >&2
    # No emulation: both are cross-compiled.
    SOURCE_DATE_EPOCH=$epoch docker buildx build --platform linux/amd64,linux/arm64 --provenance mode=max \
      --build-arg VERSION="$version" --build-arg REVISION="$COMMIT" --build-arg SOURCE="${SOURCE:-}" \
      --build-arg CREATED="$(date --utc --date "@$epoch" +%FT%TZ)" \
      --metadata-file "$work/metadata" --tag "$REPOSITORY:$COMMIT" --push . >&2
    digest=$(jq -er '."containerimage.digest"' "$work/metadata")
    [[ $(digest_of "$COMMIT") == "$digest" ]] || failed "ECR does not have $digest as $COMMIT"
  fi
  IMAGE=$REPOSITORY@$digest
}

cargo_version() { sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1; }

# The built program judges its own image, as it would judge any other.
scanned() {
  local look code verdict='' image=$NAME@${IMAGE#*@}
  local -a policy=()
  if [[ -n ${POLICY:-} ]]; then
    [[ -f $POLICY ]] || refuse "there is no file $POLICY"
    policy=(--volume "$PWD/$POLICY:/policy.toml:ro" --env TAGWARDEN_CONFIG=/policy.toml)
  fi
  log_in
  for ((look = 0; look < PATIENCE; look++)); do
    # Anew for each look, because they end. Neither the log nor the list of processes shows them.
    (umask 077 && aws configure export-credentials --format env-no-export >"$work/credentials")
    code=0
    docker run --rm --env-file "$work/credentials" --env AWS_REGION "${policy[@]}" "$IMAGE" \
      explain --format json "$image" >"$work/explanation" || code=$?
    verdict=$(jq -r '.verdict // "none"' "$work/explanation" 2>/dev/null) || verdict=none
    case $code:$verdict in
      0:keep) say "it passes: no limit of the policy is exceeded" && return ;;
      0:wait | 0:left_to_scan | 1:*) ;;
      0:unscanned)
        [[ $UNSCANNED == accept ]] || break
        say "NOT SCANNED, and accepted by UNSCANNED=accept"
        return
        ;;
      *) break ;;
    esac
    say "look $((look + 1)) of $PATIENCE: $verdict (exit code $code)"
    sleep "$INTERVAL"
  done
  jq . "$work/explanation" >&2 2>/dev/null || cat "$work/explanation" >&2
  case $code:$verdict in
    3:*) failed "its findings violate the policy" ;;
    0:wait | 0:left_to_scan | 1:*) failed "there are no findings after $PATIENCE looks: is its scan switched on?" ;;
    0:unscanned) failed "no scan covers it: docs/pipeline.md says what does" ;;
    *) failed "it is not fit to be deployed: $verdict (exit code $code)" ;;
  esac
}

signed() {
  local look state=none
  for ((look = 0; look < PATIENCE; look++)); do
    aws ecr describe-image-signing-status --repository-name "$NAME" --image-id imageDigest="${IMAGE#*@}" --output json \
      >"$work/signing" || failed "its signature cannot be asked for"
    state=$(jq -r '[.signingStatuses[]?.status] | if length == 0 then "none" elif any(. == "FAILED") then "FAILED"
      elif all(. == "COMPLETE") then "COMPLETE" else "IN_PROGRESS" end' "$work/signing")
    case $state in
      COMPLETE) say "it is signed" && return ;;
      FAILED) break ;;
    esac
    say "look $((look + 1)) of $PATIENCE: $state"
    sleep "$INTERVAL"
  done
  jq . "$work/signing" >&2
  case $state in
    FAILED) failed "it could not be signed" ;;
    none) failed "no rule of the registry's signing configuration signs $NAME" ;;
    *) failed "it is not signed after $PATIENCE looks" ;;
  esac
}

# Approved images have a name that the repository's lifecycle keeps.
name() {
  local tag there media
  tag=$(cargo_version)-${COMMIT:0:12}
  there=$(digest_of "$tag")
  if [[ -n $there ]]; then
    [[ $there == "${IMAGE#*@}" ]] || failed "$tag is another image: $there"
    say "$tag is there already" && return
  fi
  aws ecr batch-get-image --repository-name "$NAME" --image-ids imageDigest="${IMAGE#*@}" --output json \
    --accepted-media-types application/vnd.oci.image.index.v1+json application/vnd.docker.distribution.manifest.list.v2+json \
    >"$work/image"
  jq -ej '.images[0].imageManifest' "$work/image" >"$work/manifest" || failed "$IMAGE cannot be read"
  media=$(jq -er '.images[0].imageManifestMediaType' "$work/image")
  aws ecr put-image --repository-name "$NAME" --image-tag "$tag" --image-digest "${IMAGE#*@}" \
    --image-manifest "file://$work/manifest" --image-manifest-media-type "$media" >/dev/null
  say "it is named $tag"
}

# Reads the stack's state and what PARAMETERS says of it.
read_wishes() {
  local said
  if said=$(aws cloudformation describe-stacks --stack-name "$STACK" --query 'Stacks[0].StackStatus' --output text 2>&1); then
    status=$said
  else
    [[ $said == *"does not exist"* ]] || failed "the stack $STACK cannot be read: $said"
    status=none
  fi
  given=(WorkerImage="$IMAGE") tags=()
  if [[ -f $PARAMETERS ]]; then
    jq -r '.Parameters // {} | to_entries[] | "\(.key)=\(.value)"' "$PARAMETERS" >"$work/parameters" || refuse "$PARAMETERS is no JSON"
    jq -r '.Tags // {} | to_entries[] | "\(.key)=\(.value)"' "$PARAMETERS" >"$work/tags"
    mapfile -t -O 1 given <"$work/parameters"
    mapfile -t tags <"$work/tags"
  elif is_new; then
    refuse "there is no stack $STACK yet, and no file $PARAMETERS with its parameters"
  fi
}
is_new() { [[ $status == none || $status == REVIEW_IN_PROGRESS ]]; }

# make_stack OPTION... changes the stack, or makes it.
make_stack() {
  aws cloudformation deploy --stack-name "$STACK" --template-file deploy/tagwarden.yaml --s3-bucket "${BUCKET:?}" \
    --role-arn "${CLOUDFORMATION_ROLE:?}" --capabilities CAPABILITY_IAM ${tags[0]+--tags "${tags[@]}"} \
    --parameter-overrides "${given[@]}" "$@"
}

propose() {
  local said change
  read_wishes
  # Without --tags this command would remove them.
  if ((${#tags[@]} == 0)) && ! is_new; then
    mapfile -t tags < <(aws cloudformation describe-stacks --stack-name "$STACK" --query 'Stacks[0].Tags' --output json |
      jq -r '.[]? | "\(.Key)=\(.Value)"')
  fi
  said=$(make_stack --no-execute-changeset --no-fail-on-empty-changeset) || failed "CloudFormation does not accept it: $said"
  change=$(grep -o 'arn:[^ ]*:changeSet/[^ ]*' <<<"$said" | head -n 1) || { say "nothing would change" && return; }
  say "a deployment would change, in $STACK:"
  aws cloudformation describe-change-set --change-set-name "$change" --output json |
    jq -r '.Changes[]?.ResourceChange | "  \(.Action) \(.ResourceType) \(.LogicalResourceId)\(
      if .Replacement == "True" then ", which is replaced" else "" end)"' >&2
}

deploy() {
  read_wishes
  if is_new; then
    make_stack >&2 || failed "the stack $STACK could not be made: docs/install.md, step 5, says how to look"
  else
    STACK=$STACK bash deploy/stack.sh set --template deploy/tagwarden.yaml --s3-bucket "${BUCKET:?}" "${given[@]}" >&2
  fi
}

step=${1:-}
case $step in
  build) ;;
  scanned | signed | propose | name | deploy)
    IMAGE=${2:-}
    [[ $IMAGE =~ ^"$REPOSITORY"@sha256:[0-9a-f]{64}$ ]] || refuse "$IMAGE is no image of $REPOSITORY by its digest"
    ;;
  -h | --help | help) usage && exit ;;
  *) usage >&2 && exit 2 ;;
esac
[[ $REPOSITORY == *.dkr.ecr.*/* ]] || refuse "REPOSITORY is no repository of ECR: $REPOSITORY"
"$step"
printf '%s\n' "$IMAGE"
