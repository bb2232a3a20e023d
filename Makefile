# World Wide Welsh. `make` lists the targets.
SHELL := /bin/bash
GO ?= go
BIN := bin
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -X main.version=$(VERSION)
SEED ?= 1
SEEDS ?= 100000
FROM ?= 1
RUNS ?= 20
SITE_YEARS ?= 10000
MINUTES ?= 5
TRIM ?= -trimpath

# The agents are built without cgo, and so is what tests and lint look at: everything is compiled once. The race
# detector alone wants cgo.
export CGO_ENABLED := 0
# Compilers, staticcheck and tests make much garbage and hold little: collecting it less often saves a fifth of the
# processor. The figures of bench are measured as the agents run.
export GOGC ?= 400
bench bench-dns bench-detection: export GOGC := 100
# lint vets everything; tests without tables for a debugger link in two thirds of the time.
RACE := CGO_ENABLED=1 $(GO) test -race -vet=off -ldflags=-w
GOVULNCHECK ?= v1.9.0

.DEFAULT_GOAL := help
.PHONY: help build demo lab test e2e netns chaos lint fmt bench bench-dns bench-detection soak histories sim mutants cover contract alerts clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## /{printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build wwwd, wwwctl and wwwlab into bin/
	@mkdir -p $(BIN)
	$(GO) build $(TRIM) -ldflags '$(LDFLAGS)' -o $(BIN)/ ./cmd/...

demo: build ## a site dies, its guests come back elsewhere, DNS follows (KILL=SITE, DNS=bind|knot|powerdns, JSON=1)
	@$(BIN)/wwwlab demo $(if $(KILL),--kill $(KILL)) $(if $(DNS),--dns $(DNS)) $(if $(JSON),--json)

.PHONY: demos
demos: build ## every scenario of the demo, one after the other
	@for s in site rescue parpaing host leader-killed target-dies-too second warm switchover isolation; do \
	  echo "demos: $$s"; $(BIN)/wwwlab demo --scenario $$s || exit 1; done; echo "demos: ok"

lab: build ## build and keep a five-site network running in .lab (Ctrl-C ends it)
	$(BIN)/wwwlab up --dir .lab

test: ## unit, contract and simulator tests, with the race detector
	@$(MAKE) --no-print-directory -j2 --output-sync=target test-race $(if $(PLAIN_PASSED),,test-plain)

# The simulator, the bubbles and the bench of detection run beside, without the race detector, under which they run a part only.
# Several packages wait for elections and servers and hardly work: more of them run at once than there are cores.
.PHONY: test-race test-plain
test-race:
	$(RACE) -p 4 -shuffle=on -timeout 800s $$($(GO) list ./... | grep -v -e internal/detectbench -e internal/lab/netns)

# What test-race runs, compiled and linked only.
.PHONY: test-built
test-built:
	$(RACE) -exec true $$($(GO) list ./... | grep -v -e internal/detectbench -e internal/lab/netns) >/dev/null

test-plain:
	$(GO) test -shuffle=on -timeout 800s ./internal/sim ./internal/detectbench
	$(GO) test -shuffle=on -timeout 400s ./cluster -run 'TestWholeAgents|Linearizable'
	$(GO) test -timeout 400s ./failover -run Makespan

netns: build ## real wwwd, ICMP and WireGuard in network namespaces, broken in every way (root)
	WWW_BIN=$(CURDIR)/$(BIN) $(RACE) -count=1 -timeout 500s ./internal/lab/netns

chaos: build ## break networks of real processes at random, check them from outside (root; MINUTES=5 SEED=1)
	@$(BIN)/wwwlab chaos --dir .chaos --minutes $(MINUTES) --seed $(if $(filter command%,$(origin FROM)),$(FROM),$(SEED))

.PHONY: chaos-steps
chaos-steps: build ## strike agents, leader, machines, PBSs and names at every step of every operation (CASE=failover/own/leader-done)
	WWW_STEPS=1 WWW_BIN=$(CURDIR)/$(BIN) $(GO) test ./cmd/wwwlab -run TestEveryStepWithRealProcesses -count=1 -parallel 6 -timeout 90m -v \
	  -args -steps.case='$(CASE)'

e2e: netns ## the real network, a short chaos, then the demo with real processes: every site killed and every DNS server, and faults
	@$(MAKE) --no-print-directory -j2 --output-sync=target e2e-chaos e2e-faults e2e-hooks e2e-left $(E2E_KILLS) $(E2E_ZONES) e2e-page e2e-panels
	@echo "e2e: ok"

# Each is a network of its own on addresses or in namespaces of its own, and waits most of its time: two run at once, the longest first.
E2E_KILLS := $(addprefix e2e-kill-,moulin fabrique quai halle temoin)
E2E_ZONES := $(addprefix e2e-zone-,bind knot powerdns)
.PHONY: $(E2E_KILLS) $(E2E_ZONES) e2e-left e2e-page e2e-panels e2e-chaos e2e-faults e2e-hooks
$(E2E_KILLS): e2e-kill-%:
	@echo "e2e: killing $*"; $(BIN)/wwwlab demo --kill $*
$(E2E_ZONES): e2e-zone-%:
	@echo "e2e: zone on $*"; $(BIN)/wwwlab demo --dns $*
e2e-left:
	@WWW_E2E=1 WWW_BIN=$(CURDIR)/$(BIN) $(GO) test ./internal/lab/chaos -run TestNothingIsLeft -count=1
e2e-page:
	@WWW_E2E=1 $(GO) test ./internal/api -run TestPageInChromium -count=1
e2e-panels:
	@WWW_E2E=1 WWW_BIN=$(CURDIR)/$(BIN) $(GO) test ./deploy/grafana -run TestEveryPanelInTheLab -count=1
e2e-chaos:
	@$(BIN)/wwwlab chaos --dir .chaos --minutes 0 --round 30s --seed 760
e2e-faults:
	WWW_E2E=1 WWW_BIN=$(CURDIR)/$(BIN) $(GO) test ./cmd/wwwlab -run 'TestFaultsWithRealProcesses|TestNoSecretIsTold|TestDoctorHasNothingToMend' -count=1
e2e-hooks:
	@WWW_E2E=1 WWW_BIN=$(CURDIR)/$(BIN) $(GO) test ./cmd/wwwlab -run TestVetoAndLiveRestoreWithRealProcesses -count=1

.PHONY: vuln
vuln: ## known holes in what the programs use, by govulncheck (asks vuln.go.dev; says so where that cannot be reached)
	@out=$$($(GO) run golang.org/x/vuln/cmd/govulncheck@$(GOVULNCHECK) ./cmd/... 2>&1); status=$$?; echo "$$out"; \
	if [ $$status -ne 0 ] && ! grep -q 'Vulnerability #' <<<"$$out"; then \
	  echo "vuln: NOT CHECKED: govulncheck or its database could not be had, so nothing is known of holes"; fi; exit $$status

lint: ## gofumpt, go vet, staticcheck, import arrows and purity
	@out=$$($(GO) tool gofumpt -l .); if [ -n "$$out" ]; then echo "not gofumpt-ed:"; echo "$$out"; exit 1; fi
	$(GO) vet ./...
	$(GO) tool staticcheck ./...
	$(GO) test ./internal/archtest

fmt: ## format the sources
	$(GO) tool gofumpt -l -w .

.PHONY: deb deb-test install-test
deb: build ## dist/*.deb, with man pages and completions (dpkg-deb)
	deploy/deb/build.sh "$(VERSION)"

install-test: ## docs/install.md typed on three Debian machines with systemd, watched, upgraded under load (root, debootstrap)
	deploy/deb/install-test.sh

deb-test: deb ## lintian; install, upgrade, remove and purge in a chroot (root, debootstrap)
	deploy/deb/test.sh

bench: build ## the figures of docs/benchmarks.md (RUNS=20)
	$(GO) test -run '^$$' -bench . -benchtime 1s ./failover ./dnsctl ./probes
	$(BIN)/wwwlab bench --runs $(RUNS)

sim: ## replay one simulated run (SEED=n SCENARIO="stale target" SHRINK=1)
	$(GO) test ./internal/sim -run TestReplay -sim.seed=$(SEED) -sim.scenario="$(SCENARIO)" $(if $(SHRINK),-sim.shrink) -v -count=1

# last passes on what comes, and ends with the last line that has a word in it, from that word on; none: it fails.
# Awk would hold back what comes until it has a block of it.
last = { last=; while IFS= read -r line; do case "$$line" in *"$(1)"*) last="$(1)$${line\#*$(1)}";; *) printf '%s\n' "$$line";; esac; done; printf '%s\n' "$$last"; [ -n "$$last" ]; }

soak: ## many histories of the way home, then many simulated networks for hours each (SEEDS=n FROM=first COVERAGE=file)
	@set -o pipefail; failed=; \
	$(GO) test ./internal/sim -run 'TestHistories$$' -sim.seeds=$(SEEDS) -sim.from=$(FROM) -count=1 -timeout 0 -v \
	  | $(call last,histories: ) || failed=1; \
	$(GO) test ./internal/sim -run 'TestCampaign|Boundary|SingleFault' -sim.whole -sim.seeds=$(SEEDS) -sim.from=$(FROM) \
	  -sim.coverage=$(or $(COVERAGE),/dev/null) -count=1 -timeout 0 -v \
	  | $(call last,soak: ) || failed=1; \
	[ -z "$$failed" ]

histories: ## many histories of the way home, with an account of all that was written (SEEDS=n FROM=first)
	@set -o pipefail; $(GO) test ./internal/sim -run 'TestHistories$$' -sim.seeds=$(SEEDS) -sim.from=$(FROM) -count=1 -timeout 0 -v \
	  | $(call last,histories: )

mutants: ## sabotage the production code line by line: the simulator must notice (SEEDS=100)
	@set -o pipefail; $(GO) test ./internal/sim/mutants -run 'TestMutantsDie|TestHistoriesMiss' -count=1 -timeout 0 -v \
	  -mutants.seeds=$(if $(filter command%,$(origin SEEDS)),$(SEEDS),100) -mutants.name="$(NAME)" \
	  | $(call last,mutants: )

contract: ## every call of our client and answer of our lab against the vendor's schema (PVE_SCHEMA, PBS_SCHEMA)
	@report=$$(mktemp) && trap 'rm -f "$$report"' EXIT && \
	CONTRACT=1 CONTRACT_REPORT="$$report" $(foreach v,PVE_SCHEMA PBS_SCHEMA,$(if $($(v)),$(v)="$(if $(filter /%,$($(v))),,$(CURDIR)/)$($(v))")) \
	  $(GO) test ./internal/lab -run 'Contract|Clients|Schema' -count=1; \
	status=$$?; cat "$$report"; exit $$status

alerts: ## check the Prometheus rules (needs promtool)
	promtool check rules deploy/prometheus/alerts.yaml
	promtool test rules deploy/prometheus/alerts_test.yaml deploy/prometheus/alerts_days_test.yaml

bench-dns: ## the embedded DNS server beside Knot and NSD, 10 000 records (needs knot, nsd)
	$(GO) test -run '^$$' -bench Queries -benchtime 3s ./dnsctl

bench-detection: ## Monte-Carlo of the detection (SITE_YEARS=10000 SEED=1)
	@set -o pipefail; SITE_YEARS=$(SITE_YEARS) SEED=$(SEED) $(GO) test ./internal/detectbench -run TestDetectionBench -count=1 -timeout 0 -v \
	  | $(call last,detection: )

cover: ## test coverage by package
	$(GO) test -cover ./... | awk '{print $$2, $$5}' | column -t

clean: ## remove what was built
	rm -rf $(BIN) dist
