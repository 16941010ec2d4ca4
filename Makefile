# The recipes are short: what takes more than a line or two is a script in ci/.

export HOME ?= /root
export PATH := $(PATH):/usr/local/go/bin:/usr/sbin:/sbin

# A clone that git does not trust (another user's) still builds, only without its revision.
build := CGO_ENABLED=0 go build -trimpath -buildvcs=$(shell git rev-parse HEAD >/dev/null 2>&1 && echo auto || echo false)

.PHONY: deb release sbom help build bin/pgpatron bin/patroni-node image demo hosts hosts-down faults test check bench clean

help: ## say what there is to make
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 12

build: bin/pgpatron bin/patroni-node ## build both programs into bin/

bin/pgpatron:
	$(build) -o $@ ./cmd/pgpatron

# The same source gives the same file at every commit, so that the image stays as it is.
bin/patroni-node:
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -o $@ ./cmd/patroni-node

image: ## set up what is missing and build the node image
	ci/setup
	ci/image

demo: ## run the whole story on this machine (KEEP=1 leaves it up, DEMO_RUNS=n repeats it)
	@ci/demo

hosts: image bin/pgpatron ## play three hosts and an etcd of three members on this machine
	ci/hosts up

faults: image bin/pgpatron ## rehearse faults on these hosts (SCENARIO=switchover,… SEED=n DURATION=1h)
	go run ./fixtures/faults/pgpatron-faults $(if $(SCENARIO),-scenario $(SCENARIO)) $(if $(SEED),-seed $(SEED)) $(if $(DURATION),-duration $(DURATION)) $(if $(HOLD),-hold $(HOLD))

hosts-down: ## remove them
	ci/hosts down

test: image bin/pgpatron ## set up what is missing, then check and run every test
	ci/clean test
	ci/check
	ci/database ci/test ./... -- -race -p 3
	go test -v -run TestModel ./federation -schedules 100000
	ci/database ci/test ./registrar ./registrar/deploy -- -race -tags system -timeout 30m -p 1
	ci/test ./fixtures/system ./fixtures/faults ./ci/bosh/test -- -race -tags system -timeout 30m -p 1

check: ## format, vet, staticcheck, known vulnerabilities, go.mod
	ci/check

bench: ## measure the router beside HAProxy and pgbouncer, on a large site, in switchovers, then run every benchmark
	ci/bench
	ci/bench -scale
	ci/bench -switchovers 7
	go test -run '^$$' -bench . -benchmem ./...

deb: ## build Debian packages into dist/, and try them
	ci/deb dist
	ci/deb-test dist

sbom: ## print what the programs are made of, as CycloneDX
	@ci/sbom

release: ## try the BOSH release: templates, packaging scripts, tarball
	ci/bosh-test

clean: ## remove what the demo, the tests and the build have left
	ci/clean demo test
	rm -rf bin dist
