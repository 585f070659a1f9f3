# make lists its targets.
.PHONY: help build web test check long sim fuzz bench clean

help: ## list the targets
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/:.*## /\t/' | sort

build: ## build dist/postbus and dist/postbus-sql for this machine
	CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -o dist/ ./cmd/postbus ./cmd/postbus-sql

web: ## build the dashboard and the browser SDK, whose built files are committed (needs npm)
	cd bus/web/sdk && npm ci && npm run build
	cd bus/web/dashboard && npm ci && npm run build

test: ## the README's test command
	go test ./...

check: ## everything CI runs, on Debian as root (some of it: .ci/run STEP...)
	.ci/run

long: ## what takes hours: simulated lives, takeovers, fuzzing, soak
	.ci/long

sim: ## simulated lives of the bus, 10,000 of them (repeat one: go test ./bus -run TestSimulation -sim.seed=N)
	go test ./bus -run '^TestSimulation$$' -sim.seeds=10000 -timeout 20m

fuzz: ## the frame guard, for a minute
	go test ./bus/broker/frame -run '^$$' -fuzz FuzzGuard -fuzztime 1m

bench: build ## beside Mosquitto: needs `mosquitto` and both brokers running, see docs/benchmarks.md
	dist/postbus bench compare --target postbus=tcp://127.0.0.1:1883 --target mosquitto=tcp://127.0.0.1:1884

clean: ## remove what was built
	rm -rf dist
