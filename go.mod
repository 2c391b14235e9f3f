module github.com/kube-ipvs/kube-ipvs

go 1.26.0
