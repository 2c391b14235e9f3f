#!/bin/bash
# Fails if cleanup has left something in the kernel of a node, or if that cannot be told. The Pods that clean up have nft.
#
#   deploy/kind/left.sh CONTEXT NODE...
set -euo pipefail
context=$1
shift
for node in "$@"; do
  table=$(docker exec "$node" cat /proc/net/ip_vs)
  left=$(grep -cE '^(TCP|UDP|SCTP|FWM) ' <<<"$table" || true)
  [[ $left == 0 ]] || { echo "$left virtual servers are left on $node" >&2; exit 1; }
  pod=$(kubectl --context "$context" -n kube-system get pod -l app.kubernetes.io/name=kube-ipvs --field-selector "spec.nodeName=$node" -o name)
  tables=$(kubectl --context "$context" -n kube-system exec "$pod" -c agent -- nft list tables)
  if grep -qx 'table inet kube-ipvs' <<<"$tables"; then
    echo "the nftables table is left on $node" >&2
    exit 1
  fi
done
