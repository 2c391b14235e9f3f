module github.com/kube-ipvs/kube-ipvs

go 1.26.0

require golang.org/x/sys v0.49.0
