# Each target is one line and says what it needs. CI runs the same ones: see .ci/run.
GO        ?= go
LAB       := $(GO) run ./e2e/lab/run
TOOLS     := $(shell $(GO) env GOCACHE)/../kube-ipvs/bin
LINT      := $(TOOLS)/golangci-lint
LINT_VERSION := v2.15.0
VERSION   ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
FUZZTIME  ?= 30s
ARCHS     ?= amd64 arm64
# A go command that is told to end leaves its directory behind: here it has one that goes with the recipe.
OWN_TMP   := GOTMPDIR=$$(mktemp -d -t kube-ipvs-go-XXXXXX) && export GOTMPDIR && trap 'rm -rf "$$GOTMPDIR"' EXIT && trap 'exit 143' INT TERM HUP &&
SUDO      := $(shell test "$$(id -u)" = 0 || echo sudo)
COUNT     ?= 1
SEEDS     ?= 2000
# Packages with benchmarks of what a change goes through.
STAGES    := ./sync/kube ./sync ./allocator ./filter ./ipvs ./traffic ./report/page
# Packages with tests that need root and a kernel with IPVS: files tagged "kernel".
KERNEL    := ./e2e/lab ./e2e/lab/topo ./e2e/lab/agent ./ipvs ./nodeaddr ./filter ./host ./e2e/bench/count ./e2e/bench/observe ./e2e/bench/floor ./e2e

.PHONY: all build test unit compiler page browser guest host e2e e2e-controlplane demo faults upgrade chaos soak bench bench-apply microbench rootfs test-deploy e2e-kind lint fmt pictures fuzz clean
all: build

build: ## the agent, static
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/kube-ipvs ./cmd/kube-ipvs
test: lint unit test-deploy guest ## what CI checks first: see .ci/run for the rest
unit: $(if $(shell command -v gcc),,compiler) ## without root, kernel or network
	$(GO) test -race ./...
	cd e2e/suite && $(GO) test -race ./...
compiler: ## the race detector needs gcc, which is installed where it is missing
	$(SUDO) apt-get update -q && $(SUDO) apt-get install -q -y --no-install-recommends gcc libc6-dev
page: $(if $(shell command -v chromium-headless-shell chromium),,browser) ## the status page in a browser without a screen; its pictures are in out/page
	$(OWN_TMP) cd e2e/page && TMPDIR=$$GOTMPDIR $(GO) test -count=1 ./...
browser: ## Chromium and letters for it, which are installed where they are missing
	$(SUDO) apt-get update -q && $(SUDO) apt-get install -q -y --no-install-recommends chromium-headless-shell fonts-dejavu-core
guest: ## the kernel tests, in a guest with Debian's kernel and the image's root file system; KERNEL_SERIES=6.12 takes another from Debian's backports; COUNT=20 KERNEL=./ipvs runs one package 20 times
	$(MAKE) rootfs ARCHS=amd64 && $(OWN_TMP) $(LAB) test -timeout $$((30 * $(COUNT)))m -count $(COUNT) -bin ./cmd/kube-ipvs -file out/rootfs-amd64=/rootfs $(KERNEL)
host: ## the kernel tests on this machine's own kernel: needs root and IPVS
	$(LAB) test -host -timeout 30m -bin ./cmd/kube-ipvs $(KERNEL)
e2e: ## the suite on a real cluster, whose nodes are in a guest: builds Kubernetes the first time; RUN=REGEXP chooses cases
	$(OWN_TMP) $(LAB) prepare && $(GO) run ./e2e/lab/cluster/run -build -with kube-proxy
	$(OWN_TMP) cd e2e/suite && $(GO) test -tags cluster -count 1 -v -timeout 20m $(if $(RUN),-run '$(RUN)') .
e2e-controlplane: ## a real Kubernetes control plane, and a guest that reaches it: builds Kubernetes the first time
	$(OWN_TMP) $(LAB) prepare && $(GO) run ./e2e/lab/cluster/run -build && $(GO) test -tags cluster -count 1 -p 1 -timeout 15m ./e2e/lab ./e2e/lab/cluster ./e2e/lab/topo
	$(OWN_TMP) cd e2e/suite && $(GO) test -tags cluster -count 1 -timeout 5m ./kindcluster
demo: ## the main job, shown in a guest
	$(OWN_TMP) $(LAB) exec -timeout 5m -bin ./cmd/kube-ipvs -bin ./e2e/demo -- demo
faults: ## on models, without root: random histories in which a tenth of all calls fails, SEEDS of each, and whatever an API server does wrong
	SEEDS=$(SEEDS) $(GO) test -count=1 -timeout 60m -run '^Test(AnyHistory|ThreePasses|BoundsDecide)' ./sync && $(GO) test -count=1 -v -run '^Test(WhatIsServedStays|ARestored|AnObjectThatABackup|AnEmptyCluster|AnotherCluster|AVersion|EventsThat|ABurst|TheAgentEndsAtOnce)' ./sync/kube
upgrade: ## agents of older revisions and today's follow each other in a guest, under requests; OLD="REVISION...", by default one of each older nftables layout
	$(OWN_TMP) $(GO) run ./e2e/upgrade $(OLD)
chaos: ## the promise that nothing is lost, in a guest: kills, rollouts, flaps, an API server that goes, and a ledger of every request; DURATION=90s, ARGS="-seed 7", -write-docs, -h
	$(OWN_TMP) $(GO) run ./e2e/chaos $(if $(DURATION),-duration $(DURATION)) $(ARGS)
soak: ## 1,000 changes a minute for an hour, and nothing may grow; DURATION=3m for a short one, ARGS as for chaos
	$(OWN_TMP) $(GO) run ./e2e/chaos -soak $(if $(DURATION),-duration $(DURATION)) $(ARGS)
bench: ## kube-ipvs beside kube-proxy in IPVS and nftables mode, in a guest, in out/bench: builds Kubernetes the first time; ARGS="-quick", -write-docs, -h
	$(OWN_TMP) $(GO) run ./e2e/bench $(ARGS)
bench-apply: ## ipvs.Apply beside a bare writer, single calls and ipvsadm, in a guest
	$(LAB) test -v -timeout 10m -run '^$$' -bench . ./ipvs ./e2e/bench/floor
microbench: ## Go benchmarks of every stage of a change, in the form that benchstat reads: make microbench COUNT=10 > before
	@$(GO) test -run '^$$' -bench . -benchmem -count $(COUNT) $(STAGES)
rootfs: ## the image's root file systems without a container engine, in out/rootfs-ARCH
	for arch in $(ARCHS); do $(GO) run ./deploy/image/build -arch $$arch -version $(VERSION) -out out/rootfs-$$arch || exit 1; done
test-deploy: ## manifests, chart, kind clusters, in a module of its own; -count=1 because go caches over changes outside of it
	cd deploy/test && $(GO) test -count=1 ./...
e2e-kind: ## the agent and the suite on a kind cluster: needs a container engine, kind and kubectl
	deploy/kind/run.sh
lint: $(LINT)
	$(LINT) run
	cd deploy/test && $(LINT) run
	cd e2e/suite && $(LINT) run
	cd e2e/page && $(LINT) run
fmt: $(LINT)
	$(LINT) fmt
pictures: ## those of the docs, from docs/pictures/*.dot: needs graphviz
	UPDATE_PICTURES=1 $(GO) test -count=1 -run Pictures ./cmd/kube-ipvs
fuzz: ## every parser, FUZZTIME each
	@grep -rnoE --include='*_test.go' '^func Fuzz[A-Za-z0-9]+' . | sed -E 's|^\./(.*)/[^/:]+:[0-9]+:func |\1 |' | while read -r p f; do $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1s "./$$p" || exit 1; done
clean:
	rm -rf bin out
$(LINT):
	GOBIN=$(abspath $(TOOLS)) $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)
