package fleet

// This file is how a hub's stream is made.

import (
	"time"

	"github.com/postbus/postbus/bus/fleet/stream"
)

// maxAge is how long the hub keeps messages unless told otherwise.
const maxAge = 7 * 24 * time.Hour

// Shape is the stream of a fleet on its hub. A maxSize of 0 bytes is no limit. The oldest messages make room
// when it is full, and buses that have not read them report the loss.
func Shape(fleet string, maxSize int64, replicas int) stream.Shape {
	return stream.Shape{Subjects: []string{Subjects(fleet)}, MaxAge: maxAge, MaxBytes: maxSize, Discard: "old", Storage: "file", Replicas: replicas}
}
