#!/usr/bin/env bash
# Changes a stack of tagwarden, and says what became of it. Needs bash, version 2 of the AWS command
# line, and jq.
set -euo pipefail

usage() {
  cat <<'END'
usage:
  deploy/stack.sh policy FILE              check FILE with the task's environment, keep it as a version of its own, deploy that
  deploy/stack.sh policy --version VERSION go back to a text that was deployed before
  deploy/stack.sh versions                 the texts that are kept, the newest last; * is the one in force
  deploy/stack.sh set NAME=VALUE...        change parameters of the stack
  deploy/stack.sh set --template FILE --s3-bucket BUCKET [NAME=VALUE...]
                                           the same with another template
  deploy/stack.sh environment              the task's environment, for: eval "$(deploy/stack.sh environment)"

variables:
  STACK       the stack, default tagwarden; for deploy/member.yaml the name of its stack
  TAGWARDEN   the program that checks, default tagwarden; deploy/tagwarden.sh takes it out of WORKER_IMAGE
  INTERVAL    seconds between looks at a change, default 10
  PATIENCE    looks before it is given up, default 360

Exit codes: 0 done, 1 failed and taken back, or not known; 2 refused before anything was changed.
The stack's tags stay. Every parameter that is not given keeps its value.
END
}

STACK=${STACK:-tagwarden} TAGWARDEN=${TAGWARDEN:-tagwarden} INTERVAL=${INTERVAL:-10} PATIENCE=${PATIENCE:-360}

say() { printf '%s\n' "$*" >&2; }
refuse() { say "refused, and nothing is changed: $*"; exit 2; }
failed() { say "FAILED: $*"; exit 1; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The stack as it is: parameters, tags, outputs and status.
read_stack() {
  aws cloudformation describe-stacks --stack-name "$STACK" --query 'Stacks[0]' --output json >"$work/stack" ||
    refuse "the stack $STACK cannot be read"
}
parameter() { jq -r --arg name "$1" '[.Parameters[]? | select(.ParameterKey == $name).ParameterValue][0] // ""' "$work/stack"; }
output() { jq -r --arg name "$1" '[.Outputs[]? | select(.OutputKey == $name).OutputValue][0] // ""' "$work/stack"; }
is_worker() { [[ -n $(output ServiceName) ]]; }
is_appconfig() { [[ -n $(output ConfigApplicationId) ]]; }

read_service() {
  aws ecs describe-services --cluster "$(output ClusterName)" --services "$(output ServiceName)" --query 'services[0]' --output json
}

# The variables that the worker's container has, as NAME=VALUE. What comes from secrets is not among
# them, and need not be: a key is made up, so that a text that needs one is checked as in the task.
# The file of AppConfig is in the task only.
read_environment() {
  local definition
  definition=$(read_service | jq -r '.taskDefinition // empty') || definition=''
  [[ -n $definition ]] || refuse "the service of $STACK cannot be read"
  aws ecs describe-task-definition --task-definition "$definition" --query taskDefinition --output json >"$work/definition" ||
    refuse "the task definition $definition cannot be read"
  jq -r '.containerDefinitions[] | select(.name == "worker") |
    (.environment[] | select((.name | startswith("TAGWARDEN")) and (.name | IN("TAGWARDEN_CONFIG", "TAGWARDEN__WATCH") | not)) | "\(.name)=\(.value)"),
    (.secrets[]? | select(.name == "TAGWARDEN__RESTORE__KEY") | "\(.name)=\("0123456789abcdef" * 4)")' \
    "$work/definition" >"$work/environment"
}

# Checks a text as the task would read it: with its variables and no others.
check_text() {
  local -a variables=() options=()
  read_environment
  mapfile -t variables <"$work/environment"
  if is_appconfig; then
    # The task has it as a file of this name, and the validator of AppConfig reads JSON only.
    [[ $1 == *.json ]] || refuse "$1 is not JSON, and AppConfig takes nothing else here (docs/appconfig.md)"
    options=(--config "$1")
  else
    variables+=(TAGWARDEN_CONFIG_TEXT="$(cat "$1")")
  fi
  env -i PATH="$PATH" HOME="${HOME:-/}" WORKER_IMAGE="${WORKER_IMAGE:-}" AWS_REGION="${AWS_REGION:-$(aws configure get region || true)}" \
    "${variables[@]}" "$TAGWARDEN" check ${options[0]+"${options[@]}"} >&2 ||
    refuse "the worker would not start with $1 (exit code $?)"
}

# Keeps a text under a name of its own, which is never written again: a task definition that names
# it goes on meaning this text.
keep_text() {
  local file=$1 name secret key said
  name=$(parameter ConfigParameterName) secret=$(parameter ConfigSecretArn) key=$(parameter ConfigKmsKeyArn)
  if is_appconfig; then
    version=$(aws appconfig create-hosted-configuration-version --application-id "$(output ConfigApplicationId)" \
      --configuration-profile-id "$(output ConfigProfileId)" --content-type application/json --content "fileb://$file" --query VersionNumber --output text /dev/null) ||
      refuse "the text cannot be kept in AppConfig"
    return
  fi
  if [[ -n $secret ]]; then
    # 32 to 64 characters, and the same text gives the same version.
    version=$(sha256sum "$file" | cut -c1-64)
    aws secretsmanager put-secret-value --secret-id "$secret" --client-request-token "$version" \
      --secret-string "file://$file" --query VersionId --output text >/dev/null || refuse "the text cannot be kept in $secret"
    return
  fi
  [[ -n $name ]] || refuse "the stack has neither ConfigParameterName nor ConfigSecretArn: set one of them first (docs/install.md)"
  version=$(sha256sum "$file" | cut -c1-16)
  if ! said=$(aws ssm put-parameter --name "$name/$version" --type SecureString --tier Intelligent-Tiering \
    ${key:+--key-id "$key"} --value "file://$file" 2>&1 >/dev/null); then
    # The name is made from the text, so what is there is the same text.
    [[ $said == *ParameterAlreadyExists* ]] || refuse "the text cannot be kept as $name/$version: $said"
  fi
}

# The texts in AppConfig, with the time at which each was deployed last.
kept_in_appconfig() {
  aws appconfig list-deployments --application-id "$(output ConfigApplicationId)" --environment-id "$(output ConfigEnvironmentId)" \
    --output json >"$work/deployments" || return
  aws appconfig list-hosted-configuration-versions --application-id "$(output ConfigApplicationId)" \
    --configuration-profile-id "$(output ConfigProfileId)" --output json |
    jq --slurpfile deployments "$work/deployments" '[.Items[] | (.VersionNumber | tostring) as $version | {version: $version,
      at: ([$deployments[0].Items[] | select(.ConfigurationVersion == $version and .State == "COMPLETE") | .CompletedAt] | max // "never")}]'
}
# The version that is in force; in AppConfig that of the deployment that was completed last.
in_force() {
  if is_appconfig; then
    kept_in_appconfig | jq -r '[.[] | select(.at != "never")] | max_by(.at).version // ""'
  else
    parameter ConfigVersion
  fi
}

is_kept() {
  local name secret
  name=$(parameter ConfigParameterName) secret=$(parameter ConfigSecretArn)
  if is_appconfig; then
    kept_in_appconfig | jq -e --arg version "$1" 'any(.version == $version)' >/dev/null
  elif [[ -n $secret ]]; then
    aws secretsmanager list-secret-version-ids --secret-id "$secret" --include-deprecated --query 'Versions[].VersionId' --output json |
      jq -e --arg version "$1" 'index($version) != null' >/dev/null
  else
    aws ssm get-parameters --names "$name/$1" --query 'Parameters[].Name' --output json | jq -e 'length == 1' >/dev/null
  fi
}

versions() {
  local name secret current
  read_stack
  name=$(parameter ConfigParameterName) secret=$(parameter ConfigSecretArn) current=$(in_force)
  if is_appconfig; then
    kept_in_appconfig
  elif [[ -n $secret ]]; then
    aws secretsmanager list-secret-version-ids --secret-id "$secret" --include-deprecated --output json |
      jq '[.Versions[] | {at: .CreatedDate, version: .VersionId}]'
  else
    [[ -n $name ]] || refuse "the stack has no text"
    aws ssm get-parameters-by-path --path "$name" --output json |
      jq '[.Parameters[] | {at: .LastModifiedDate, version: (.Name | split("/") | last)}]'
  fi | jq -r --arg current "$current" 'sort_by(.at)[] | "\(if .version == $current then "*" else " " end) \(.at) \(.version)"'
}

# Why a change failed: what CloudFormation, ECS and the tasks say.
explain_failure() {
  local since=$1 task
  say "What CloudFormation says:"
  aws cloudformation describe-stack-events --stack-name "$STACK" --max-items 100 --output json 2>/dev/null |
    jq -r --arg since "$since" '.StackEvents[]? | select(.Timestamp >= $since and (.ResourceStatus | endswith("_FAILED"))) |
      "  \(.LogicalResourceId): \(.ResourceStatusReason // "")"' >&2 || true
  is_worker || return 0
  say "What the service says:"
  read_service 2>/dev/null | jq -r '.events[:8][]? | "  \(.createdAt) \(.message)"' >&2 || true
  say "Why tasks stopped:"
  task=$(aws ecs list-tasks --cluster "$(output ClusterName)" --desired-status STOPPED --query 'taskArns[:3]' --output text 2>/dev/null || true)
  if [[ -n $task && $task != None ]]; then
    # shellcheck disable=SC2086 # several names
    aws ecs describe-tasks --cluster "$(output ClusterName)" --tasks $task --output json 2>/dev/null |
      jq -r '.tasks[]? | "  \(.stoppedReason // "")", (.containers[]? | select(.exitCode != null or .reason != null) |
        "    \(.name): exit code \(.exitCode // "none") \(.reason // "")")' >&2 || true
  fi
  say "Exit code 2 of the worker means that the configuration is wrong; the log says in which line:"
  say "  aws logs tail /tagwarden/$STACK/worker --since 1h --filter-pattern '{ \$.level = \"ERROR\" }'"
}

# Waits for the end of an update, and then for the deployment of its task definition by its id.
await() {
  local before=$1 since=$2 status='' look deployment='' service now expected
  for ((look = 0; look < PATIENCE; look++)); do
    read_stack
    status=$(jq -r .StackStatus "$work/stack")
    if is_worker; then
      service=$(read_service || echo '{}')
      now=$(jq -r --arg before "$before" \
        '[.deployments[]? | select(.status == "PRIMARY" and .id != $before)][0] // empty |
         "\(.id) \(.rolloutState) \(.taskDefinition) \(.rolloutStateReason // "")"' <<<"$service")
      if [[ -n $now && $now != "$deployment" ]]; then
        deployment=$now
        say "deployment $deployment"
      fi
    fi
    [[ $status == *_IN_PROGRESS || $deployment == *" IN_PROGRESS "* ]] || break
    sleep "$INTERVAL"
  done
  case $status in
    UPDATE_COMPLETE | CREATE_COMPLETE) ;;
    *_IN_PROGRESS) explain_failure "$since" && failed "$STACK is still $status after $PATIENCE looks: look at it with aws cloudformation describe-stack-events" ;;
    *)
      explain_failure "$since"
      failed "$STACK is $status: what was before is in force again, with the text that belongs to it"
      ;;
  esac
  is_worker || { say "done: $STACK is $status"; return; }
  # A service is stable as well after ECS has put the old tasks back, so it has to be this task
  # definition's deployment that is complete.
  expected=$(aws cloudformation describe-stack-resource --stack-name "$STACK" --logical-resource-id TaskDefinition \
    --query StackResourceDetail.PhysicalResourceId --output text)
  if [[ -z $deployment ]]; then
    say "done: $STACK is $status; its tasks are the same as before"
  elif [[ $deployment != *" COMPLETED $expected "* ]]; then
    explain_failure "$since"
    failed "the deployment of $expected did not complete: $deployment"
  else
    say "done: $STACK is $status, deployment ${deployment%% *} is complete"
  fi
}

# change [--template FILE --s3-bucket BUCKET] NAME=VALUE...
change() {
  local template='' bucket='' before='' since said one name
  local -a given=() known=() tags=()
  while (($#)); do
    case $1 in
      --template) template=${2:?} && shift 2 ;;
      --s3-bucket) bucket=${2:?} && shift 2 ;;
      [A-Z]*=*) given+=("$1") && shift ;;
      *) refuse "$1 is no NAME=VALUE" ;;
    esac
  done
  read_stack
  [[ $(jq -r .StackStatus "$work/stack") != *_IN_PROGRESS ]] || refuse "$STACK is being changed by somebody else"
  if is_worker; then before=$(read_service | jq -r '[.deployments[] | select(.status == "PRIMARY").id][0] // ""'); fi
  since=$(date -u +%FT%T)
  if [[ -n $template ]]; then
    # Without --tags this command would remove all tags.
    mapfile -t tags < <(jq -r '.Tags[]? | "\(.Key)=\(.Value)"' "$work/stack")
    aws cloudformation deploy --stack-name "$STACK" --template-file "$template" ${bucket:+--s3-bucket "$bucket"} \
      --capabilities CAPABILITY_NAMED_IAM --no-fail-on-empty-changeset ${tags[0]+--tags "${tags[@]}"} \
      ${given[0]+--parameter-overrides "${given[@]}"} >&2 || said="aws cloudformation deploy failed"
    [[ -z ${said:-} ]] || say "$said"
  else
    ((${#given[@]})) || refuse "no NAME=VALUE is given"
    mapfile -t known < <(jq -r '.Parameters[]?.ParameterKey' "$work/stack")
    for one in "${given[@]}"; do
      name=${one%%=*}
      [[ " ${known[*]} " == *" $name "* ]] || refuse "the stack has no parameter $name"
    done
    printf '%s\n' "${given[@]}" | jq -R 'capture("^(?<key>[^=]+)=(?<value>.*)$")' | jq -s '[.[] | {(.key): .value}] | add' >"$work/given"
    jq --slurpfile given "$work/given" '[.Parameters[]? | if $given[0][.ParameterKey] != null
      then {ParameterKey, ParameterValue: $given[0][.ParameterKey]} else {ParameterKey, UsePreviousValue: true} end]' \
      "$work/stack" >"$work/parameters"
    # UpdateStack leaves the tags alone if it is given none.
    if ! said=$(aws cloudformation update-stack --stack-name "$STACK" --use-previous-template --capabilities CAPABILITY_NAMED_IAM \
      --parameters "file://$work/parameters" 2>&1); then
      [[ $said == *"No updates are to be performed"* ]] && { say "done: $STACK has these values already"; return; }
      refuse "$said"
    fi
  fi
  await "$before" "$since"
}

# Deploys a version in AppConfig, and waits until it can no longer be taken back by an alarm.
deploy_in_appconfig() {
  local version=$1 number look state=''
  number=$(aws appconfig start-deployment --application-id "$(output ConfigApplicationId)" \
    --environment-id "$(output ConfigEnvironmentId)" --configuration-profile-id "$(output ConfigProfileId)" \
    --deployment-strategy-id "$(output ConfigStrategyId)" --configuration-version "$version" --query DeploymentNumber --output text) ||
    refuse "AppConfig does not deploy version $version"
  say "deployment $number: tasks have the text within a minute; its alarms are watched for ten more"
  for ((look = 0; look < PATIENCE; look++)); do
    aws appconfig get-deployment --application-id "$(output ConfigApplicationId)" --environment-id "$(output ConfigEnvironmentId)" \
      --deployment-number "$number" --output json >"$work/deployment" ||
      echo '{}' >"$work/deployment"
    state=$(jq -r '.State // ""' "$work/deployment")
    case $state in
      COMPLETE) say "done: deployment $number is complete" && return ;;
      ROLLED_BACK | REVERTED) break ;;
    esac
    sleep "$INTERVAL"
  done
  say "What AppConfig says:"
  jq -r '.EventLog[:8][]? | "  \(.OccurredAt // "") \(.EventType): \(.Description // "")"' "$work/deployment" >&2
  say "Why the worker refused the text, if it did:"
  say "  aws logs tail /tagwarden/$STACK/worker --since 1h --filter-pattern '{ \$.level = \"ERROR\" }'"
  [[ $state == ROLLED_BACK || $state == REVERTED ]] || failed "deployment $number is still ${state:-unknown} after $PATIENCE looks"
  failed "deployment $number is $state: the text from before is in force again"
}

policy() {
  local version='' previous
  read_stack
  is_worker || refuse "$STACK is no stack of a worker"
  if [[ ${1:-} == --version ]]; then
    version=${2:?a version of: deploy/stack.sh versions}
    is_kept "$version" || refuse "there is no text of version $version"
  else
    [[ -f ${1:-} ]] || refuse "there is no file ${1:-}"
    check_text "$1"
    keep_text "$1"
  fi
  previous=$(in_force)
  say "version $version${previous:+, before it $previous}"
  if is_appconfig; then deploy_in_appconfig "$version"; else change ConfigVersion="$version"; fi
  [[ -z $previous || $previous == "$version" ]] || say "to go back: deploy/stack.sh policy --version $previous"
}

case ${1:-} in
  policy)
    shift
    (($#)) || refuse "a FILE or --version VERSION is missing"
    policy "$@"
    ;;
  versions) versions ;;
  set) shift && change "$@" ;;
  environment)
    read_stack
    read_environment
    while IFS='=' read -r name value; do
      # The key that is made up would only be in the way.
      [[ $name == TAGWARDEN__RESTORE__KEY ]] || printf 'export %s=%q\n' "$name" "$value"
    done <"$work/environment"
    ;;
  -h | --help | help) usage ;;
  *) usage >&2; exit 2 ;;
esac
