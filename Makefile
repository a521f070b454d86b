# scopedrift's build. `make` alone explains itself; V=1 shows the commands.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

Q := $(if $(V),,@)
GO ?= go
# No cgo anywhere: scopedrift is a static binary, its engine binds at run time.
export CGO_ENABLED := 0

# The engine that tests and commands use, unless the environment names others.
export SCOPEDRIFT_ENGINE ?= $(CURDIR)/bin/scopedrift-engine
export SCOPEDRIFT_LIBCHDB ?= $(CURDIR)/bin/libchdb.so

PACKAGES ?= ./...
GO_FILES = find . -name '*.go' -not -path './.cache/*' -not -path './bin/*'

.PHONY: help demo build engine kafka test eval chaos latency compare-tshark lint format-check generate generate-check bench clean

help: ## show this help
	@echo 'scopedrift: what every machine credential really does, against what it was granted'
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo 'V=1 shows the commands; PACKAGES=./schema/... narrows test and bench.'

demo: build ## build, then run the story: a month of a small company, with findings
	$(Q)bin/scopedrift demo

build: engine ## build scopedrift and its engine into bin/
	$(Q)$(GO) build -trimpath -o bin/ ./cmd/scopedrift

# The engine program, and its library unless the environment names another.
engine:
	$(Q)mkdir -p bin
	$(Q)$(GO) build -trimpath -o bin/ ./cmd/scopedrift-engine
	$(Q)if [[ $$SCOPEDRIFT_LIBCHDB == $(CURDIR)/bin/libchdb.so ]]; then pipeline/engine/fetch-libchdb.sh .cache bin/libchdb.so; fi

# The real broker of the tests; without java or mvn its tests skip.
kafka:
	$(Q)pipeline/kafka/kafkatest/fetch-kafka.sh .cache

test: build kafka lint generate-check ## check everything, then run every test against the real engine
	$(Q)$(GO) test -json -timeout 40m $(TESTFLAGS) $(PACKAGES) | $(GO) run ./.ci/report

# SET=dev has the worlds for work on detections; only the others make the report.
eval: build ## measure the detections on simulated companies, and write docs/detection-quality.md
	$(Q)$(GO) run ./cmd/internal/evaluate $(if $(SET),-set $(SET),-out docs/detection-quality.md) $(EVALFLAGS)

# KILLS and SCOPEDRIFT_TEST_SEED choose; the seed of each run is printed. Then broker
# and engine are away for AWAY seconds.
chaos: build kafka ## kill collectors, ingesters, engine and broker 1,000 times, and compare
	$(Q)SCOPEDRIFT_TEST_CHAOS=$(or $(KILLS),1000) $(GO) test -count 1 -timeout 120m -run '^TestChaos$$' -v ./cmd/internal/cli
	$(Q)SCOPEDRIFT_TEST_AWAY=$(or $(AWAY),60) $(GO) test -count 1 -timeout 30m -run '^TestAway$$' -v ./cmd/internal/cli

# For a while on a machine that does nothing else; see BenchmarkLatency.
latency: build kafka ## time calls until their findings, RATE calls/s FOR seconds
	$(Q)SCOPEDRIFT_BENCH_SECONDS=$(or $(FOR),300) SCOPEDRIFT_BENCH_RATE=$(or $(RATE),20000) $(GO) test -run '^$$' -bench Latency -benchtime 1x -timeout 60m -v ./cmd/internal/cli

# TSHARK names another program than the one on the PATH.
compare-tshark: ## show what scopedrift and an installed tshark find in the same captures
	$(Q)command -v $(or $(TSHARK),tshark) >/dev/null || { echo 'tshark is not installed; install it, or pass TSHARK=/path/to/it'; exit 1; }
	$(Q)SCOPEDRIFT_TSHARK=$(or $(TSHARK),tshark) $(GO) test -tags tshark -count 1 -run '^TestCompareTshark$$' -v ./collector/pcap

lint: format-check ## check format, vet and staticcheck
	$(Q)$(GO) vet $(PACKAGES) ./.ci/report
	$(Q)$(GO) vet -tags tshark ./collector/pcap
	$(Q)$(GO) tool staticcheck $(PACKAGES)

format-check:
	$(Q)bad=$$($(GO_FILES) -print0 | xargs -0 gofmt -l); \
	if [[ -n $$bad ]]; then echo "not formatted, run gofmt -w on:"; echo "$$bad"; exit 1; fi

generate: ## renew generated files
	$(Q)$(GO) generate $(PACKAGES)

# Renews the generated files and compares with what was there, committed or not.
generate-check:
	$(Q)state() { git diff | cksum; git ls-files --others --exclude-standard -z | xargs -0 -r cksum; }; \
	if git rev-parse --git-dir >/dev/null 2>&1; then \
		before=$$(state); $(MAKE) --no-print-directory generate; \
		if [[ $$before != $$(state) ]]; then echo "generated files were out of date, make generate has renewed them: commit them"; git status --short; exit 1; fi; \
	fi

bench: build ## run the benchmarks
	$(Q)$(GO) test -run '^$$' -bench . -benchmem -timeout 60m $(PACKAGES)

clean: ## remove what was built and fetched
	$(Q)rm -rf bin .cache dist
