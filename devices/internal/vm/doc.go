// Package vm runs the program itself, with plugin files, inside virtual machines that have devices.
// It is tests only.
//
// The host's half of a test builds cmd/postbus for the machine, boots it (see package vmtest) and
// moves wires, keys and plugs from outside. In the guest /init is this package's test binary: it
// starts /bin/postbus with a folder of plugins, subscribes as an MQTT client over 127.0.0.1, kills
// the program and starts it again.
//
//	host                      guest
//	qtest, QMP ── a wire ──▶  kernel ──▶ postbus ── MQTT ──▶ this test
//	                                        └─ journal on ext4 on a virtio disk (or tmpfs)
//
// A kill -9 needs only the page cache, not a disk. The disk is there for the figures, which compare
// the time from an edge to a subscriber with the time of an fdatasync.
package vm
