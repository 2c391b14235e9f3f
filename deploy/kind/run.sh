#!/bin/bash
# The agent on a kind cluster: builds the image, makes the cluster, installs with kustomize, asks a node port of every
# node for its Pods, from another node, and runs the suite. Needs docker, kind, kubectl and Go, and a kernel with IPVS.
#
#   deploy/kind/run.sh [with-kube-proxy|without-kube-proxy]     KEEP=1 leaves the cluster, RUN=REGEX runs some cases
set -euo pipefail
cd "$(dirname "$0")/../.."
variant=${1:-with-kube-proxy}
cluster=kube-ipvs
context=kind-$cluster
image=kube-ipvs:dev
suite=kube-ipvs-suite:dev
port=30080

say() { printf '\n== %s\n' "$*"; }
kube() { kubectl --context "$context" "$@"; }

for tool in docker kind kubectl go; do
  command -v "$tool" >/dev/null || { echo "$tool is missing: see docs/install.md" >&2; exit 1; }
done
[[ -f deploy/kind/$variant/cluster.yaml ]] || { echo "no variant $variant: with-kube-proxy or without-kube-proxy" >&2; exit 1; }
if kind get clusters 2>/dev/null | grep -qx "$cluster"; then
  echo "there is a cluster $cluster already: kind delete cluster --name $cluster" >&2
  exit 1
fi

work=$(mktemp -d)
finish() {
  local code=$?
  rm -rf "$work"
  if [[ $code != 0 ]]; then
    say "it failed; the agents' last words"
    kube -n kube-system logs -l app.kubernetes.io/name=kube-ipvs --all-containers --prefix --tail 20 || true
  fi
  if [[ -z ${KEEP:-} ]]; then kind delete cluster --name "$cluster"; fi
  exit "$code"
}

say "building $image"
trap 'rm -rf "$work"' EXIT
docker build -f deploy/image/Dockerfile --build-arg VERSION="$(git describe --tags --always 2>/dev/null || echo dev)" -t "$image" .
say "building $suite"
arch=$(docker version --format '{{.Server.Arch}}')
(cd e2e/suite && CGO_ENABLED=0 GOOS=linux GOARCH=$arch go build -trimpath -ldflags '-s -w' -o "$work/server" ./kindcluster/server)
printf 'FROM scratch\nCOPY server /server\nENTRYPOINT ["/server"]\n' >"$work/Dockerfile"
docker build -t "$suite" "$work"
trap finish EXIT
say "making cluster $cluster ($variant)"
kind create cluster --name "$cluster" --config "deploy/kind/$variant/cluster.yaml"
kind load docker-image --name "$cluster" "$image" "$suite"
say "installing"
kube apply -k "deploy/kind/$variant"
kube -n kube-system rollout status daemonset/kube-ipvs --timeout 3m
say "smoke test"
kube apply -f deploy/kind/smoke.yaml
kube rollout status deployment/smoke --timeout 3m
read -ra nodes <<<"$(kube get nodes -o 'jsonpath={.items[*].metadata.name}')"
client=${nodes[0]}
for node in "${nodes[@]}"; do
  for address in $(kube get node "$node" -o 'jsonpath={.status.addresses[?(@.type=="InternalIP")].address}'); do
    [[ $address == *:* ]] && address="[$address]"
    answers=$(for _ in 1 2 3 4 5 6; do
      docker exec "$client" curl -sSf --max-time 5 --retry 5 --retry-delay 1 --retry-connrefused "http://$address:$port/hostname"
      echo
    done | sort | uniq -c)
    printf '%s %s\n%s\n' "$node" "$address" "$answers"
    [[ $(wc -l <<<"$answers") == 3 ]] || { echo "not all three Pods answered on $address" >&2; exit 1; }
  done
done
say "suite" # the smoke test's Service stays, for cleanup to have something to do
kind get kubeconfig --name "$cluster" >"$work/kubeconfig"
# -v names every case, and those that are not for this provider.
(cd e2e/suite && SUITE_PROVIDER=kind KUBECONFIG=$work/kubeconfig go test -tags cluster -count 1 -timeout 45m -v -run "${RUN:-.}" .)
say "uninstalling"
kube apply -k deploy/kustomize/uninstall
kube -n kube-system rollout status daemonset/kube-ipvs --timeout 10m
deploy/kind/left.sh "$context" "${nodes[@]}"
kube delete -k deploy/kustomize/uninstall
say "all is well"
