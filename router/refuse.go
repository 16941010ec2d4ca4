package router

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

const (
	// refuseTimeout bounds the whole refusal.
	refuseTimeout = 5 * time.Second
	// farewell is how long a refused client has to hang up by itself.
	farewell = time.Second
	// maxStartup is PostgreSQL's own limit of a startup packet.
	maxStartup = 10000
)

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

// refuse tells a client in PostgreSQL's words that its instance has no leader,
// and closes its connection.
func refuse(ctx context.Context, client *net.TCPConn, instance string) error {
	defer client.Close()
	if err := client.SetDeadline(time.Now().Add(refuseTimeout)); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { reset(client) })
	defer stop()
	startup, err := readStartup(client)
	if err != nil {
		return fmt.Errorf("reading the startup packet: %w", err)
	}
	if _, err := client.Write(refusal(startup.database, instance)); err != nil {
		return err
	}
	return partFrom(client)
}

// refusal is the error that a client gets.
func refusal(database, instance string) []byte {
	answer := pgproto3.ErrorResponse{
		Severity: "FATAL", SeverityUnlocalized: "FATAL", Code: "57P03",
		Message: fmt.Sprintf("database %q of instance %s has no leader at the moment; try again", database, instance),
	}
	// It has no fields that could fail to be encoded.
	encoded, _ := answer.Encode(nil)
	return encoded
}

// partFrom waits until the client has hung up: closing while something unread
// has come would send a reset, which may overtake the answer.
func partFrom(client *net.TCPConn) error {
	if err := client.CloseWrite(); err != nil {
		return err
	}
	if err := client.SetReadDeadline(time.Now().Add(farewell)); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, io.LimitReader(client, maxStartup))
	return err
}

// startup is what a client says first of whom and what it wants.
type startup struct {
	user, database string
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
			return startup{}, errCancel
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
