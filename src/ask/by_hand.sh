ecr() {
  aws ecr "$@" --registry-id "$ACCOUNT" --region "$REGION" --repository-name "$REPOSITORY"
}
image() {
  ecr batch-get-image --image-ids "imageDigest=$DIGEST" --output text --query "images[0].$1" \
    --accepted-media-types application/vnd.oci.image.manifest.v1+json \
    application/vnd.oci.image.index.v1+json \
    application/vnd.docker.distribution.manifest.v2+json \
    application/vnd.docker.distribution.manifest.list.v2+json
}
give_back() (
  TYPE=$(image imageManifestMediaType) || exit
  if [ "$TYPE" = None ]
  then
    echo "the image is no longer in the repository"
    exit 1
  fi
  # The dot keeps line ends at the end of the manifest, which are part of it.
  MANIFEST=$(image imageManifest || exit; echo .) || exit
  MANIFEST=${MANIFEST%?.}
  for TAG
  do
    FOUND=$(ecr batch-get-image --image-ids "imageTag=$TAG" --output text \
      --query 'failures[0].failureCode')
    if [ "$FOUND" = ImageNotFound ]
    then
      ecr put-image --image-tag "$TAG" --image-manifest "$MANIFEST" --image-digest "$DIGEST" \
        --image-manifest-media-type "$TYPE" --output text --query image.imageId.imageTag
    else
      echo "$TAG is left alone: it is in use again, or cannot be read"
    fi
  done
)
