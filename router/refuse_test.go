package router_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pgpatron/pgpatron/router"
)

// stranger is a client that says input and hears what it is answered.
type stranger struct {
	io.Reader
	heard bytes.Buffer
}

func (s *stranger) Write(b []byte) (int, error) { return s.heard.Write(b) }

func packet(code uint32, body string) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(8+len(body)))
	return append(binary.BigEndian.AppendUint32(b, code), body...)
}

const (
	v3     = 3 << 16
	cancel = 80877102
	ssl    = 80877103
	gssenc = 80877104
)

func TestReadStartup(t *testing.T) {
	encrypted := append(packet(gssenc, ""), packet(ssl, "")...)
	for name, test := range map[string]struct {
		input          []byte
		user, database string
		heard          string
		fails          bool
	}{
		"plain":                 {input: packet(v3, "user\x00al\x00database\x00app\x00\x00"), user: "al", database: "app"},
		"a later minor version": {input: packet(v3+2, "database\x00app\x00user\x00al\x00\x00"), user: "al", database: "app"},
		"database by the user":  {input: packet(v3, "user\x00al\x00\x00"), user: "al", database: "al"},
		"no end":                {input: packet(v3, "user\x00al"), user: "al", database: "al"},
		"nothing in it":         {input: packet(v3, "")},
		"after encryption":      {input: append(encrypted, packet(v3, "user\x00al\x00\x00")...), user: "al", database: "al", heard: "NN"},
		"encryption for ever":   {input: bytes.Repeat(packet(ssl, ""), 9), heard: "NNN", fails: true},
		"cancel":                {input: packet(cancel, "12345678"), fails: true},
		"version 2":             {input: packet(2<<16, "user\x00al\x00\x00"), fails: true},
		"too long":              {input: binary.BigEndian.AppendUint32(nil, 10001), fails: true},
		"too short":             {input: []byte{0, 0, 0, 4, 0, 0, 0, 0}, fails: true},
		"cut off":               {input: packet(v3, "user\x00al\x00\x00")[:12], fails: true},
		"TLS without asking":    {input: []byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"), fails: true},
		"HTTP":                  {input: []byte("GET / HTTP/1.1\r\n\r\n"), fails: true},
		"silence":               {fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			client := &stranger{Reader: bytes.NewReader(test.input)}
			user, database, err := router.ReadStartup(client)
			if (err != nil) != test.fails {
				t.Fatalf("error is %v, want one: %v", err, test.fails)
			}
			if user != test.user || database != test.database || client.heard.String() != test.heard {
				t.Errorf("got %q, %q after answering %q, want %q, %q after %q", user, database, client.heard.String(), test.user, test.database, test.heard)
			}
		})
	}
}

func FuzzReadStartup(f *testing.F) {
	startup := pgproto3.StartupMessage{ProtocolVersion: v3, Parameters: map[string]string{"user": "al", "database": "app"}}
	encoded, err := startup.Encode(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(encoded)
	f.Add(append(packet(ssl, ""), encoded...))
	f.Add(packet(gssenc, ""))
	f.Add(packet(cancel, "12345678"))
	f.Add([]byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"))
	f.Add(packet(v3, "user\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, input []byte) {
		client := &stranger{Reader: bytes.NewReader(input)}
		user, database, err := router.ReadStartup(client)
		if err != nil && (user != "" || database != "") {
			t.Errorf("error %v with %q and %q", err, user, database)
		}
		if len(user)+len(database) > 2*10000 || client.heard.Len() > 3 {
			t.Errorf("%d bytes of names, %d answers", len(user)+len(database), client.heard.Len())
		}
		var message pgproto3.StartupMessage
		if len(input) > 8 && message.Decode(input[4:]) == nil && int(binary.BigEndian.Uint32(input)) == len(input) && len(input) <= 10000 && err != nil {
			t.Errorf("a good startup message is refused: %v", err)
		}
	})
}
