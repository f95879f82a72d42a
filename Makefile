# A thin front for Meson: `make` builds, `make run` shows Signet at work, `make check` passes the tests.
# Each installs what it needs when it may, or prints the one line to run.
BUILD ?= build
ASAN ?= build-asan
CCACHE := $(shell command -v ccache 2>/dev/null)
JOBS ?= $(shell nproc)

.PHONY: all deps run check check-all check-trixie asan sim torture fuzz bench bench-queue install tail clean
all: deps
	@tests/kit/build.sh $(BUILD) gcc

deps:
	@tests/kit/deps.sh build

run: all
	@tests/kit/deps.sh run
	@tests/kit/demo.py

# gcc release build and clang with address and undefined-behaviour sanitizers: checks, unit tests, corpora, dialogues, end to end
check:
	@tests/kit/deps.sh build check
	@tests/kit/check.sh $(BUILD) $(ASAN)

# what takes longer: the other compiler for each build, -fanalyzer, clang-tidy, cppcheck, Debian 13
check-all:
	@tests/kit/deps.sh build check analyze
	@tests/kit/check-all.sh

# build and test in a Debian 13 made by debootstrap (OpenSSL 3.5); needs root, not part of `make check`
check-trixie:
	@tests/kit/trixie.sh build-trixie

# every source with clang's sanitizers
asan: deps
	@tests/kit/build.sh $(ASAN) clang -Db_sanitize=address,undefined -Db_lundef=false -Doptimization=1

# the simulator's scripts
sim: all
	@SIGNET_BUILD=$$PWD/$(BUILD) tests/sim/run.py

# the scripts with other random numbers; then every write, sync, lookup, message and tie between roles fails in turn (`make check` tries some of them)
torture: all
	@SIGNET_BUILD=$$PWD/$(BUILD) tests/sim/run.py --seeds 20
	@SIGNET_BUILD=$$PWD/$(BUILD) tests/sim/run.py --torture

# FUZZ_SECONDS each target, new inputs into tests/fuzz/
fuzz:
	@tests/kit/deps.sh build check
	@tests/kit/fuzz.sh $${FUZZ_SECONDS:-60}

bench: all
	@tests/kit/deps.sh bench
	@tests/bench/run.py
	@tests/bench/outbound.py
	@tests/bench/tls.py

# a million queued messages: start, memory, retries (it takes minutes to make them)
bench-queue: all
	@tests/kit/deps.sh bench
	@tests/bench/scale.py

install: all
	meson install -C $(BUILD)

# our longest functions and files: each is a question
tail:
	@tests/kit/tail.sh

clean:
	rm -rf --one-file-system $(BUILD) $(ASAN) build-fuzz build-clang build-gcc-asan build-analyzer build-trixie run
