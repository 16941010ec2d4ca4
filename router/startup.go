package router

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// maxStartup is PostgreSQL's own limit of a startup packet.
const maxStartup = 10000

// What may stand where a startup packet has its protocol version.
const (
	codeCancel = 80877102
	codeSSL    = 80877103
	codeGSSENC = 80877104
)

// Errors of startup packets.
var (
	errNotPostgres = errors.New("not a PostgreSQL startup packet")
	errCancel      = errors.New("a request to cancel, which has no answer")
)

// startup is what a client says first of whom and what it wants.
type startup struct {
	user, database string
	// cancel is a whole request to cancel, beside errCancel.
	cancel []byte
}

// readStartup reads what a client sends before it is let in. Requests for
// encryption are declined with 'N', as a server without it does; the client
// then goes on in plain text or hangs up.
func readStartup(client io.ReadWriter) (startup, error) {
	for range 3 {
		code, body, err := readPacket(client)
		if err != nil {
			return startup{}, err
		}
		switch {
		case code == codeSSL, code == codeGSSENC:
			if _, err := client.Write([]byte{'N'}); err != nil {
				return startup{}, err
			}
		case code == codeCancel:
			return startup{cancel: packet(code, body)}, errCancel
		case code>>16 == 3:
			return parseStartup(body), nil
		default:
			return startup{}, fmt.Errorf("%w: protocol version %d.%d", errNotPostgres, code>>16, code&0xffff)
		}
	}
	return startup{}, fmt.Errorf("%w: too many requests for encryption", errNotPostgres)
}

// readPacket reads one packet of the kind that has no type: its length, a
// version or code, and a body.
func readPacket(r io.Reader) (code uint32, body []byte, err error) {
	var head [8]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	length := binary.BigEndian.Uint32(head[:])
	if length < 8 || length > maxStartup {
		return 0, nil, fmt.Errorf("%w: length %d", errNotPostgres, length)
	}
	body = make([]byte, length-8)
	_, err = io.ReadFull(r, body)
	return binary.BigEndian.Uint32(head[4:]), body, err
}

// packet is what readPacket reads.
func packet(code uint32, body []byte) []byte {
	head := binary.BigEndian.AppendUint32(nil, uint32(8+len(body)))
	return append(binary.BigEndian.AppendUint32(head, code), body...)
}

// parseStartup reads the parameters: names and values that each end in a zero
// byte. The database is by default the user's namesake.
func parseStartup(body []byte) startup {
	var s startup
	for len(body) > 0 && body[0] != 0 {
		var name, value []byte
		name, body, _ = bytes.Cut(body, []byte{0})
		value, body, _ = bytes.Cut(body, []byte{0})
		switch string(name) {
		case "user":
			s.user = string(value)
		case "database":
			s.database = string(value)
		}
	}
	if s.database == "" {
		s.database = s.user
	}
	return s
}
