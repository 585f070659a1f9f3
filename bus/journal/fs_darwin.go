package journal

// Sync asks the drive itself (Go uses F_FULLFSYNC): plain fsync leaves data in its cache here.
func (f osFile) Sync() error { return f.File.Sync() }

// Preallocate does nothing: the size is synced with the data.
func (f osFile) Preallocate(int64) error { return nil }
