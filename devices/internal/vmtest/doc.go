// Package vmtest runs a package's tests inside a virtual machine that has devices to drive. Only
// tests import it.
//
// A test on this machine, the host, calls [Test]. It builds the package's test binary for the
// machine's architecture, boots a Debian kernel under QEMU's software emulation with that binary as
// /init, and passes or fails as the binary does. The package's TestMain must be [Main], which in
// the machine mounts the file systems, loads the modules and runs the tests that the host named;
// elsewhere it just runs the tests.
//
//	host                                guest (the same test binary, as /init)
//	Test ── boots ───────────────────▶  Main ── go test -run Machine.Run
//	Machine.Answer ◀── a question ────  Ask   ("toggle line 3 a thousand times")
//	  │ QMP, qtest: keys, plugs, wires
//	  └──────────────── its answer ──▶  Ask returns
//
// Only the test binary is compiled for the machine. QEMU and the kernels come from Debian:
// .ci/vm-kernels fetches them into .cache/vm of the checkout, or $VMTEST_CACHE. Without them a test
// is skipped with one sentence, as it is with -short. One machine runs at a time, also across the
// packages of one `go test ./...`.
//
// Linux only; elsewhere the package is empty.
package vmtest
