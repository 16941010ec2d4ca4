package router

import "sync"

// bufferSize is how much is moved at once.
const bufferSize = 64 << 10

// buffer holds what was read from one side until the other takes it.
type buffer struct {
	bytes [bufferSize]byte
	// begin and end are around what is still to be written.
	begin, end int
}

// buffers are shared by all sessions: an idle one holds none.
var buffers = sync.Pool{New: func() any { return new(buffer) }}

func takeBuffer() *buffer { return buffers.Get().(*buffer) }

func (b *buffer) release() { buffers.Put(b) }
