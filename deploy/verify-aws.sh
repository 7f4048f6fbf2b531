#!/usr/bin/env bash
#
# Settles by experiment, in an account of your own, what tagwarden assumes of Amazon ECR and what AWS's documentation
# leaves open. Run it before you set policy.mode = enforce: `deploy/verify-aws.sh --help`.
#
# Every experiment is one call on an image of its own, followed by a look at the whole scratch repository: what went,
# what came, and that nothing else changed.
set -euo pipefail
export LC_ALL=C AWS_PAGER='' AWS_CLI_AUTO_PROMPT=off AWS_RETRY_MODE=standard AWS_MAX_ATTEMPTS=6

usage() {
    cat <<'END'
Usage: deploy/verify-aws.sh [--yes] [--region REGION] [--no-events | --events-wait SECONDS] [--format table|json]
       deploy/verify-aws.sh --cleanup NAME [--yes] [--region REGION]

Makes a scratch repository, queue and rule, tries in them what tagwarden relies on, prints a table of what the worker
assumes and what was seen, and deletes what it made: also after a failure or Ctrl-C. It touches nothing else.

  --yes                  do not ask before beginning
  --region REGION        instead of AWS_REGION, AWS_DEFAULT_REGION or the profile's
  --no-events            leave out what EventBridge says; no queue and no rule are made
  --events-wait SECONDS  how long to wait for events, twice (120)
  --reread SECONDS       how long to wait before looking again where a change does not show yet (3)
  --format json          the table for programs; the one for people goes to standard error then
  --cleanup NAME         delete what a run that was killed has left; it said its NAME when it began

Exit code: 0 what enforce depends on is as assumed; 1 some of it differs: do not enforce; 2 could not run.

Needs bash, the AWS command line (version 1 or 2), jq, tar and gzip, and permission for sts:GetCallerIdentity,
ecr:GetRegistryScanningConfiguration, and on resources named tagwarden-verify-*:
  ecr:     CreateRepository TagResource ListTagsForResource DeleteRepository PutImageTagMutability InitiateLayerUpload
           UploadLayerPart CompleteLayerUpload PutImage BatchGetImage ListImages BatchDeleteImage
  sqs:     CreateQueue TagQueue ListQueueTags GetQueueUrl ReceiveMessage DeleteQueue
  events:  PutRule TagResource ListTagsForResource PutTargets RemoveTargets DeleteRule
END
}

say() { printf '%s\n' "$*" >&2; }

# Ends the run without a result.
give_up() {
    say "verify-aws: $*"
    exit 2
}

ask=yes events=yes events_wait=120 reread=3 format=table cleanup='' region=''
while (($#)); do
    case $1 in
        --yes | --no-events | --help | -h) value= ;;
        --region | --events-wait | --reread | --format | --cleanup)
            (($# > 1)) || give_up "$1 needs a value (see --help)"
            value=$2
            ;;
        *) give_up "unknown argument $1 (see --help)" ;;
    esac
    case $1 in
        --yes) ask=no ;;
        --no-events) events=no ;;
        --region) region=$value ;;
        --events-wait) events_wait=$value ;;
        --reread) reread=$value ;;
        --format) format=$value ;;
        --cleanup) cleanup=$value ;;
        *)
            usage
            exit 0
            ;;
    esac
    shift
    [[ -z $value ]] || shift
done
[[ $events_wait$reread =~ ^[0-9]+$ ]] || give_up "--events-wait and --reread are whole numbers of seconds"
[[ $format == table || $format == json ]] || give_up "--format is table or json"

missing=
for tool in aws jq tar gzip; do
    command -v "$tool" >/dev/null || missing="$missing $tool"
done
[[ -z $missing ]] || give_up "not installed:$missing"

sha256() {
    if command -v sha256sum >/dev/null; then sha256sum "$1"; else shasum -a 256 "$1"; fi | cut -d ' ' -f 1
}

# ---- Calls ----------------------------------------------------------------------------------------------------------

# One call of the command line. Version 1 heeds AWS_ENDPOINT_URL for every service but SQS.
aws_cli() {
    local endpoint=${AWS_ENDPOINT_URL_SQS:-${AWS_ENDPOINT_URL:-}}
    if [[ $1 == sqs && -n $endpoint ]]; then set -- "$@" --endpoint-url "$endpoint"; fi
    aws "$@" --output json
}

# One call: the answer is in $work/answer. Where it fails, $code is the error's code, or `unknown`.
try() {
    code=
    if aws_cli "$@" >"$work/answer" 2>"$work/error"; then return 0; fi
    code=$(sed -n 's/.*An error occurred (\([^)]*\)).*/\1/p' "$work/error" | head -n 1)
    code=${code:-unknown}
    return 1
}

failed() { give_up "$1 $2 failed, so there is no result: $(tr '\n' ' ' <"$work/error")"; }

# One call of an experiment, where an error may be the answer; but not one that any call can meet.
call() {
    if try "$@"; then return 0; fi
    case $code in
        unknown | AccessDenied* | *Token* | RequestExpired | *Signature* | Throttl* | *Unavailable* | Server* | Internal*)
            failed "$@"
            ;;
    esac
}

# One call that must succeed.
must() { try "$@" || failed "$@"; }

# Makes a thing that is to be deleted again, unless it was refused.
make() {
    local thing=$1 before=$made
    shift
    made="$made $thing"
    if try "$@"; then return 0; fi
    [[ $code == unknown ]] || made=$before
    failed "$@"
}

# ---- Cleaning up ----------------------------------------------------------------------------------------------------

# Deletes one thing, which may be gone already.
remove() {
    local thing=$1
    shift
    if try "$@"; then return 0; fi
    case $code in
        *NotFound* | *NonExistent* | *DoesNotExist) ;;
        *) left="$left $thing" ;;
    esac
}

find_queue() { try sqs get-queue-url --queue-name "$name" && queue_url=$(jq -r .QueueUrl "$work/answer"); }

# Deletes what is named in $made.
remove_all() {
    left=
    if [[ $made == *rule* ]]; then
        remove target events remove-targets --rule "$name" --ids queue
        remove rule events delete-rule --name "$name"
    fi
    if [[ $made == *queue* ]]; then
        [[ -n $queue_url ]] || find_queue || true
        remove queue sqs delete-queue --queue-url "$queue_url"
    fi
    if [[ $made == *repository* ]]; then
        remove repository ecr delete-repository --repository-name "$name" --force
    fi
    if [[ -n $left ]]; then
        say "NOT DELETED:$left. Try again: $0 --cleanup $name --region $region"
    elif [[ -n $made ]]; then
        say "Deleted:$made $name"
    fi
}

at_exit() {
    local status=$?
    trap '' INT TERM
    trap - EXIT
    remove_all
    rm -rf "$work"
    exit "$status"
}

# Whether the answer has this run's tag, in the shape of whichever service.
is_ours() {
    jq -e --arg name "$name" '(.tags // .Tags) as $tags
        | (if ($tags | type) == "array" then $tags | from_entries else $tags end)["tagwarden-verify"] == $name' \
        "$work/answer" >/dev/null
}

# Adds a thing to $found if it is there; refuses it if it was not made by this script.
find_ours() {
    local thing=$1
    shift
    if try "$@"; then
        is_ours || give_up "the $thing $name does not have the tag of a run of this script: it stays"
        found="$found $thing"
    elif [[ $code != *NotFound* && $code != *NonExistent* && $code != *DoesNotExist ]]; then
        failed "$@"
    fi
}

clean_up_after_another_run() {
    local found=
    find_ours repository ecr list-tags-for-resource --resource-arn "$(arn ecr "repository/$name")"
    if find_queue; then
        find_ours queue sqs list-queue-tags --queue-url "$queue_url"
    fi
    find_ours rule events list-tags-for-resource --resource-arn "$(arn events "rule/$name")"
    [[ -n $found ]] || say "There is nothing of $name."
    made=$found
    remove_all
    made=
    [[ -z $left ]] || exit 2
}

# ---- Where, and whether ---------------------------------------------------------------------------------------------

arn() { printf 'arn:%s:%s:%s:%s:%s' "$partition" "$1" "$region" "$account" "$2"; }

confirm() {
    [[ $ask == yes ]] || return 0
    [[ -t 0 ]] || give_up "there is no terminal to ask on: say --yes"
    local answer
    read -r -p "$1 [y/N] " answer
    [[ $answer == [yY]* ]] || give_up "nothing was made or changed"
}

made='' left='' queue_url='' code=''
work=$(mktemp -d)
trap at_exit EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

region=${region:-${AWS_REGION:-${AWS_DEFAULT_REGION:-$(aws configure get region || true)}}}
[[ -n $region ]] || give_up "no Region: say --region, or set AWS_REGION"
export AWS_REGION=$region AWS_DEFAULT_REGION=$region
must sts get-caller-identity
account=$(jq -r .Account "$work/answer")
caller=$(jq -r .Arn "$work/answer")
partition=$(cut -d : -f 2 <<<"$caller")
say "account   $account ($caller)"
say "Region    $region"

if [[ -n $cleanup ]]; then
    name=$cleanup
    [[ $name =~ ^tagwarden-verify-[0-9]{14}-[0-9a-f]{8}$ ]] || give_up "$name is not the name of a run of this script"
    confirm "Delete the repository, queue and rule $name?"
    clean_up_after_another_run
    exit 0
fi

name=tagwarden-verify-$(date -u +%Y%m%d%H%M%S)-$(od -An -N4 -tx1 /dev/urandom | tr -d ' \n')
scanning='unknown, it may not be asked for'
if try ecr get-registry-scanning-configuration; then
    scanning=$(jq -r '.scanningConfiguration.scanType // "BASIC"' "$work/answer")
fi
say "scanning  $scanning"
say "makes     $name: a repository with about 15 images of 1 KB$([[ $events == no ]] || echo ', a queue and a rule')"
say "takes     about two minutes$([[ $events == no ]] || echo ", and up to $((2 * events_wait)) s of waiting for events")"
say "costs     next to nothing; with ENHANCED scanning, the first scan of each image by Amazon Inspector"
confirm "Go on?"

# ---- Images, made without docker ------------------------------------------------------------------------------------

oci=application/vnd.oci.image
docker=application/vnd.docker.distribution.manifest
artifact=application/vnd.tagwarden.record.v1+json
media_types=("$oci.manifest.v1+json" "$oci.index.v1+json" "$docker.v2+json" "$docker.list.v2+json" "$docker.v1+json")

# A layer in which a scanner finds a distribution and one package that has known vulnerabilities.
write_blobs() {
    mkdir -p "$work/root/etc" "$work/root/var/lib/dpkg"
    printf '%s\n' 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"' 'NAME="Debian GNU/Linux"' 'VERSION_ID="12"' \
        'VERSION_CODENAME=bookworm' 'ID=debian' >"$work/root/etc/os-release"
    echo 12.1 >"$work/root/etc/debian_version"
    printf '%s\n' 'Package: openssl' 'Status: install ok installed' 'Priority: optional' 'Section: utils' \
        'Maintainer: none <none@example.com>' 'Architecture: amd64' 'Version: 3.0.9-1' \
        'Description: a package that is only named here' '' >"$work/root/var/lib/dpkg/status"
    tar -C "$work/root" -cf "$work/layer.tar" etc var
    gzip -n -c "$work/layer.tar" >"$work/layer"
    printf '{"architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
        "$(sha256 "$work/layer.tar")" >"$work/config"
}

# Uploads a blob: a layer, or a configuration.
upload() {
    local file=$work/$1 id last
    last=$(($(wc -c <"$file") - 1))
    must ecr initiate-layer-upload --repository-name "$name"
    id=$(jq -r .uploadId "$work/answer")
    must ecr upload-layer-part --repository-name "$name" --upload-id "$id" --part-first-byte 0 \
        --part-last-byte "$last" --layer-part-blob "fileb://$file"
    must ecr complete-layer-upload --repository-name "$name" --upload-id "$id" \
        --layer-digests "sha256:$(sha256 "$file")"
}

# A blob as a manifest lists it.
described() { printf '{"mediaType":"%s","digest":"sha256:%s","size":%d}' "$2" "$(sha256 "$work/$1")" "$(wc -c <"$work/$1")"; }

digest() { printf 'sha256:%s' "$(sha256 "$work/$1.json")"; }
quarantine_tag() { digest "$1" | sed 's/sha256:/quarantine-/'; }

# Lets the images be told by name.
named() { printf '%s %s\n' "$(digest "$1")" "$1" >>"$work/names"; }

# The manifest of an image. Images differ by an annotation, and share their blobs.
image() {
    printf '{"schemaVersion":2,"mediaType":"%s","config":%s,"layers":[%s],"annotations":{"tagwarden.verify":"%s"}}' \
        "$oci.manifest.v1+json" "$(described config "$oci.config.v1+json")" \
        "$(described layer "$oci.layer.v1.tar+gzip")" "$1" >"$work/$1.json"
    named "$1"
}

# The manifest of an image index of children.
index() {
    local index=$1 children='' child
    shift
    for child in "$@"; do
        children="$children${children:+,}$(described "$child.json" "$oci.manifest.v1+json")"
    done
    printf '{"schemaVersion":2,"mediaType":"%s","manifests":[%s]}' "$oci.index.v1+json" "$children" >"$work/$index.json"
    named "$index"
}

# The manifest of a record about an image, as the worker writes it. Its configuration and its only layer are one blob.
record() {
    local record=$1 blob=$2
    printf '{"schemaVersion":2,"mediaType":"%s","artifactType":"%s","config":%s,"layers":[%s],"subject":%s,"annotations":%s}' \
        "$oci.manifest.v1+json" "$artifact" "$(described "$blob" application/vnd.oci.empty.v1+json)" \
        "$(described "$blob" application/vnd.oci.empty.v1+json)" "$(described r.json "$oci.manifest.v1+json")" \
        "{\"tagwarden.verify\":\"$record\"}" >"$work/$record.json"
    named "$record"
}

# PutImage of an image under a tag, as the worker calls it: $answer is what came of it. The digest may be another's.
put() {
    local image=$1 tag=${2:-} digest_of=${3:-$1}
    call ecr put-image --repository-name "$name" --image-manifest "file://$work/$image.json" \
        --image-manifest-media-type "$(jq -r .mediaType "$work/$image.json")" --image-digest "$(digest "$digest_of")" \
        ${tag:+--image-tag "$tag"}
    answer=${code:-accepted}
}

push() {
    put "$@"
    [[ $answer == accepted ]] || failed ecr put-image
}

# BatchDeleteImage by tag and digest, as the worker calls it: $answer is the tags that it says went, or the failure.
untag() {
    call ecr batch-delete-image --repository-name "$name" --image-ids "imageDigest=$(digest "$1"),imageTag=$2"
    answered
}

answered() {
    answer=$code
    [[ -n $code ]] ||
        answer=$(jq -r '[(.failures[]?.failureCode), (.imageIds[]? | .imageTag // "an image")] | unique | join(", ")' \
            "$work/answer")
}

# ---- What became of the repository ----------------------------------------------------------------------------------

# Reads every image and tag of the repository: a line each, "image tag".
state() {
    must ecr list-images --repository-name "$name"
    jq -r '.imageIds[] | .imageDigest + " " + (.imageTag // "-")' "$work/answer" |
        awk 'NR == FNR { name[$1] = $2; next } { print ($1 in name ? name[$1] : $1), $2 }' "$work/names" - |
        sort >"$1"
}

# Whether exactly these lines went and came. What does not show yet is looked for again.
changed_by() {
    local attempt
    for attempt in 1 2 3; do
        state "$work/after"
        [[ $(comm -23 "$work/before" "$work/after") != "$1" || $(comm -13 "$work/before" "$work/after") != "$2" ]] ||
            return 0
        [[ $attempt == 3 ]] || sleep "$reread"
    done
    return 1
}

# The same in words.
change() {
    local went came lost text=
    went=$(comm -23 "$work/before" "$work/after" | tags)
    came=$(comm -13 "$work/before" "$work/after" | tags)
    lost=$(comm -23 <(images "$work/before") <(images "$work/after"))
    [[ -z $went ]] || text="$went${lost:+ and the image} went"
    [[ -z $came ]] || text="$text${text:+; }$came came"
    printf '%s' "${text:-nothing changed}"
}

images() { cut -d ' ' -f 1 "$1" | sort -u; }

tags() { cut -d ' ' -f 2 | sed 's/^-$/an untagged image/' | paste -s -d , - | shortened; }

shortened() { sed 's/quarantine-[0-9a-f]*/quarantine-.../g; s/,\([^ ]\)/, \1/g'; }

# A row of the table: its number, what is assumed, what was seen, the verdict, and what depends on it.
row() { printf '%s\t%s\t%s\t%s\t%s\n' "$1" "$4" "$2" "$3" "$5" >>"$work/rows"; }

# Judges the last call: a row of its own. The answer, and what went and came in the repository, are as given.
judge() {
    local number=$1 wanted=$2 went=$3 came=$4 assumed=$5 depends=$6 verdict='as assumed' seen
    changed_by "$went" "$came" || verdict=DIFFERS
    seen=$(change)
    if [[ $answer != "$wanted" ]]; then
        verdict=DIFFERS
        seen="answered $(shortened <<<"$answer"); $seen"
    elif [[ $answer == [A-Z]* ]]; then
        seen="$answer; $seen"
    fi
    row "$number" "$assumed" "$seen" "$verdict" "$depends"
    mv "$work/after" "$work/before"
}

# ---- The experiments ------------------------------------------------------------------------------------------------

compare='enforce: registry.untag = tag_and_digest'
keep='enforce: no image is lost (policy.action = quarantine)'
mark='enforce: the quarantine tag is confirmed before a tag goes'
records='enforce: registry.records = required'
delete='policy.action = delete'

try_tags() {
    say "trying tags and digests"
    untag a a-1
    judge 01 a-1 'a a-1' '' 'tag and digest that match: that tag alone goes' "$compare"
    untag c b-1
    judge 02 ImageTagDoesNotMatchDigest '' '' 'tag on another digest: ImageTagDoesNotMatchDigest' "$compare"
    untag b b-9
    judge 03 ImageNotFound '' '' 'tag that is not there: ImageNotFound' 'enforce: an untag may be repeated'
    untag d d-1
    judge 04a d-1 'd d-1' '' 'the last tag: the image goes with it' "$delete"
}

try_marks() {
    say "trying quarantine tags"
    put e "$(quarantine_tag e)"
    judge 06a accepted '' "e $(quarantine_tag e)" 'PutImage of the same bytes and digest: one more tag' "$mark"
    put e "$(quarantine_tag e)"
    judge 06b ImageAlreadyExistsException '' '' 'the same again: ImageAlreadyExistsException' "$mark"
    put e e-2 a
    judge 06c ImageDigestDoesNotMatchException '' '' 'with another digest: ImageDigestDoesNotMatchException' "$mark"
    untag e e-1
    judge 04b e-1 'e e-1' '' 'the last tag but a quarantine tag: the image stays' "$keep"
}

try_reading() {
    say "trying BatchGetImage"
    fetch b
    judge_bytes 08a b 'an image by digest: its bytes, once or once a tag' "$mark"
    fetch x
    judge_bytes 08b x 'an index by digest: its bytes, where its type is accepted' 'enforce: image indexes are judged and marked'
}

fetch() {
    must ecr batch-get-image --repository-name "$name" --image-ids "imageDigest=$(digest "$1")" \
        --accepted-media-types "${media_types[@]}"
}

# Judges what BatchGetImage gave of an image.
judge_bytes() {
    local number=$1 image=$2 assumed=$3 depends=$4 copies verdict='as assumed' seen
    copies=$(jq '.images | length' "$work/answer")
    jq -j '.images[0].imageManifest // ""' "$work/answer" >"$work/copy.json"
    seen="images answered: $copies, tags: $(grep -c "^$image " "$work/before"); bytes as pushed"
    if [[ $(jq '[.images[].imageManifest] | unique | length' "$work/answer") != 1 || $(digest copy) != $(digest "$image") ]]; then
        verdict=DIFFERS
        seen="images answered: $copies, not the bytes that were pushed; $(jq -c '[.failures[]?.failureCode]' "$work/answer")"
    fi
    row "$number" "$assumed" "$seen" "$verdict" "$depends"
}

try_children() {
    say "trying the children of an index"
    untag f f-1
    judge 05a ImageReferencedByManifestList '' '' 'the last tag of a child of an index: refused' 'the outcome "blocked"'
    push g "$(quarantine_tag g)"
    state "$work/before"
    untag g g-1
    judge 05b g-1 'g g-1' '' 'the same with a quarantine tag first: that tag goes' 'enforce: children of an index can be untagged'
    untag x x-1
    judge 05c x-1 'x x-1' '' 'the last tag of an index: the index goes, its children stay' "$delete"
}

try_immutable() {
    say "trying an IMMUTABLE repository"
    must ecr put-image-tag-mutability --repository-name "$name" --image-tag-mutability IMMUTABLE
    put j h-1
    judge 07a ImageTagAlreadyExistsException '' '' 'IMMUTABLE, PutImage over a tag: refused' 'nothing: what IMMUTABLE is for'
    put h "$(quarantine_tag h)"
    judge 07b accepted '' "h $(quarantine_tag h)" 'IMMUTABLE, a quarantine tag: accepted' 'enforce: IMMUTABLE repositories can be marked'
    untag h h-1
    judge 07c h-1 'h h-1' '' 'IMMUTABLE, an untag: allowed' 'enforce: IMMUTABLE repositories can be untagged'
    put j h-1
    judge 07d accepted '' 'j h-1' 'IMMUTABLE, a tag that was taken off: can be pushed again' 'nothing: a fixed image may use the name again'
    must ecr put-image-tag-mutability --repository-name "$name" --image-tag-mutability MUTABLE
}

try_records() {
    say "trying records"
    printf '{}' >"$work/empty"
    record p config
    record q empty
    put p
    judge 12a accepted '' 'p -' 'a record whose blob is one of its image: accepted' 'nothing: records could do without uploads'
    local missing='a record whose blob is missing: LayersNotFoundException'
    put q
    if [[ $answer == accepted ]]; then
        judge 12b LayersNotFoundException '' '' "$missing" 'nothing: the worker uploads only what ECR misses'
    else
        judge 12b LayersNotFoundException '' '' "$missing" "$records"
        upload empty
        put q
        judge 12c accepted '' 'q -' 'the same once the 2-byte blob is uploaded: an untagged artifact' "$records"
    fi
    put q
    judge 12d ImageAlreadyExistsException '' '' 'the same again: ImageAlreadyExistsException' "$records"
    judge_referrers 12e
    untag r r-1
    judge 12f r-1 'r r-1' '' 'an image with records and a quarantine tag: loses its last other tag' "$keep"
}

# Judges what ListImageReferrers says of an image with two records.
judge_referrers() {
    local number=$1 verdict='as assumed' seen
    local assumed='ListImageReferrers by type: the records, with their annotations'
    local depends='enforce: records are read before an image is handled again'
    if ! try ecr list-image-referrers --repository-name "$name" --subject-id "imageDigest=$(digest r)" \
        --filter "artifactTypes=$artifact,artifactStatus=ANY" --max-results 50; then
        grep -qi 'invalid choice' "$work/error" || failed ecr list-image-referrers
        row "$number" "$assumed" 'this version of the aws command line does not have it' 'not seen' "$depends"
        return
    fi
    seen=$(jq -r '[.referrers[]? | .annotations["tagwarden.verify"] // "an artifact"] | sort | join(", ")' "$work/answer")
    [[ $seen == 'p, q' ]] || verdict=DIFFERS
    row "$number" "$assumed" "records answered: ${seen:-none}" "$verdict" "$depends"
}

try_too_many() {
    local number ids=()
    for number in {1..101}; do ids+=("imageTag=none-$number"); done
    call ecr batch-delete-image --repository-name "$name" --image-ids "${ids[@]}"
    answered
    judge 11 InvalidParameterException '' '' 'over 100 ids in a BatchDeleteImage: InvalidParameterException' \
        'nothing: the worker never sends so many'
}

# ---- Events ---------------------------------------------------------------------------------------------------------

make_queue_and_rule() {
    local rule
    rule=$(arn events "rule/$name")
    jq -n --arg rule "$rule" --arg queue "$(arn sqs "$name")" '{
        VisibilityTimeout: "3600", MessageRetentionPeriod: "3600",
        Policy: {Version: "2012-10-17", Statement: [{Effect: "Allow", Principal: {Service: "events.amazonaws.com"},
            Action: "sqs:SendMessage", Resource: $queue, Condition: {ArnEquals: {"aws:SourceArn": $rule}}}]} | tojson
        }' >"$work/attributes"
    make queue sqs create-queue --queue-name "$name" --attributes "file://$work/attributes" \
        --tags "tagwarden-verify=$name"
    queue_url=$(jq -r .QueueUrl "$work/answer")
    jq -n --arg name "$name" --arg arn "$(arn ecr "repository/$name")" \
        '{source: ["aws.ecr", "aws.inspector2"], detail: {"repository-name": [$name, $arn]}}' >"$work/pattern"
    make rule events put-rule --name "$name" --event-pattern "file://$work/pattern" \
        --tags "Key=tagwarden-verify,Value=$name"
    must events put-targets --rule "$name" --targets "Id=queue,Arn=$(arn sqs "$name")"
}

# Gathers events until something holds, or until the time is over and nothing more is there.
gather() {
    local deadline=$((SECONDS + events_wait)) wait count
    while ! "$@"; do
        wait=$((deadline - SECONDS))
        wait=$((wait < 0 ? 0 : wait > 20 ? 20 : wait))
        must sqs receive-message --queue-url "$queue_url" --max-number-of-messages 10 --wait-time-seconds "$wait"
        count=$(jq '.Messages | length' "$work/answer")
        jq -c '.Messages[]?.Body | fromjson' "$work/answer" >>"$work/events"
        ((${count:-0} > 0 || SECONDS < deadline)) || return 0
    done
}

# The events about an image that a jq condition selects, each once.
events_of() {
    jq -s -c --arg digest "$(digest "$1")" "unique_by(.id)[] | select(.detail[\"image-digest\"] == \$digest) | select($2)" \
        "$work/events"
}

pushes() { events_of "$1" '.detail["action-type"] == "PUSH"'; }
scans() { events_of "$1" '.["detail-type"] == "ECR Image Scan" or .["detail-type"] == "Inspector2 Scan"'; }
count() { grep -c . || true; }

first_events_are_there() {
    [[ $(pushes n | count) != 0 && $(pushes y | count) != 0 && $(scans n | count) != 0 && $(scans k | count) != 0 ]]
}

watch_events() {
    say "waiting for events, up to $events_wait s, twice"
    push n n-1
    push k
    push y y-1
    gather first_events_are_there
    push n "$(quarantine_tag n)"
    push n n-2
    gather false
}

judge_events() {
    judge_push 09a "$(quarantine_tag n)" 'a quarantine tag: an event PUSH that names it' 'the worker leaves its own marks alone'
    judge_second_scan
    judge_push 09c n-2 'one more tag on a scanned image: an event PUSH that names it' 'a bad image that gets a tag back is noticed'
    judge_child_scan
    judge_index_scan
}

event_row() {
    local seen=$3
    [[ $events == yes ]] || seen='left out (--no-events)'
    row "$1" "$2" "$seen" "$4" "$5"
}

judge_push() {
    local number=$1 tag=$2 assumed=$3 depends=$4 there verdict='not seen' seen='no such event'
    there=$(pushes n | jq -r '.detail["image-tag"] // ""' | grep -c -x -F -e "$tag" || true)
    if [[ $there != 0 ]]; then
        verdict='as assumed' seen="events PUSH with image-tag $(shortened <<<"$tag"): $there"
    fi
    event_row "$number" "$assumed" "$seen" "$verdict" "$depends"
}

judge_second_scan() {
    local there verdict='as assumed'
    there=$(scans n | count)
    case $there in
        0) verdict='not seen' ;;
        1) ;;
        *) verdict=DIFFERS ;;
    esac
    event_row 09b 'more tags on a scanned image: no second scan event' "scan events in all: $there" "$verdict" \
        'nothing: a second event is settled without an act'
}

judge_child_scan() {
    local tags verdict='as assumed' seen
    tags=$(scans k | jq -r '.detail | .["scan-status"] + ", image-tags " + (.["image-tags"] // [] | tojson)' | sort -u | paste -s -d ' ' -)
    seen=$tags
    case $tags in
        '') verdict='not seen' seen='no scan event' ;;
        *'image-tags []') ;;
        *) verdict=DIFFERS ;;
    esac
    event_row 10a 'a child of an index: a scan event with image-tags []' "$seen" "$verdict" 'image indexes are judged by their children'
}

judge_index_scan() {
    local there verdict='as assumed'
    there=$(scans y | count)
    [[ $there == 0 ]] || verdict=DIFFERS
    [[ $(scans n | count) != 0 ]] || verdict='not seen'
    event_row 10b 'an image index: no scan event of its own' "scan events: $there" "$verdict" 'nothing: such an event is judged as any other'
}

# ---- The run --------------------------------------------------------------------------------------------------------

: >"$work/rows"
make repository ecr create-repository --repository-name "$name" --image-scanning-configuration scanOnPush=true \
    --tags "Key=tagwarden-verify,Value=$name"
if [[ $events == yes ]]; then make_queue_and_rule; fi

say "pushing images"
write_blobs
upload layer
upload config
for one in a b c d e f g h i j k n r; do image "$one"; done
index x f g i
index y k
for tag in a-1 a-2 b-1 b-2 c-1 d-1 e-1 f-1 g-1 h-1 r-1; do push "${tag%-*}" "$tag"; done
push i
push r "$(quarantine_tag r)"
push x x-1
state "$work/before"

try_tags
try_marks
try_reading
try_children
try_immutable
try_records
try_too_many
: >"$work/events"
if [[ $events == yes ]]; then watch_events; fi
judge_events

# ---- The table ------------------------------------------------------------------------------------------------------

sort "$work/rows" | sed 's/^0//' >"$work/table"
differs() { awk -F '\t' -v enforce="$1" '$2 == "DIFFERS" && ($5 ~ /^enforce/) == enforce' "$work/table"; }
grave=$(differs 1 | count)
slight=$(differs 0 | count)

print_json() {
    jq -R -s --arg account "$account" --arg region "$region" --arg scanning "$scanning" --argjson grave "$grave" '{
        account: $account, region: $region, scanning: $scanning, enforce: ($grave == 0),
        rows: [split("\n")[] | select(. != "") | split("\t")
            | {number: .[0], verdict: .[1], assumed: .[2], seen: .[3], depends: .[4]}]}' "$work/table"
}

print_table() {
    printf '%s\t%s\t%s\t%s\t%s\n' '#' 'verdict' 'the worker assumes' 'seen' 'what depends on it' | cat - "$work/table" |
        awk -F '\t' '{ line[NR] = $0; for (i = 1; i < NF; i++) if (length($i) > width[i]) width[i] = length($i) }
            END {
                for (n = 1; n <= NR; n++) {
                    split(line[n], cell, "\t")
                    for (i = 1; i < 5; i++) printf "%-*s  ", width[i], cell[i]
                    print cell[5]
                }
            }'
    if [[ $events == yes ]] && grep -q 'not seen' "$work/table"; then
        printf '\nNot seen: no such event came within %s s. Try again with a longer --events-wait.\n' "$events_wait"
    fi
    printf '\nNot measured: how many BatchDeleteImage and DescribeImages a second ECR allows before it throttles;\n'
    printf 'whether a lifecycle rule for untagged images expires a record whose image stays (AWS does not say, and rules run once a day).\n'
    if [[ $slight != 0 ]]; then
        printf '\nRows that differ, and that enforce does not depend on: %s. Report them too.\n' "$slight"
    fi
    if [[ $grave != 0 ]]; then
        printf '\nDO NOT ENFORCE. Rows that enforce depends on, and that differ: %s.\n' "$grave"
        printf 'Leave policy.mode = audit, and report this table to whoever maintains tagwarden.\n'
    else
        printf '\nEverything that enforce depends on is as assumed, in account %s and Region %s.\n' "$account" "$region"
    fi
}

if [[ $format == json ]]; then
    print_table >&2
    print_json
else
    print_table
fi
[[ $grave == 0 ]] || exit 1
