package patroni

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/pgpatron/pgpatron/state"
)

// TLSFile is where a node finds its ServerTLS. It is a file beside NodeFile, with
// the same owner and mode, because nodes of older images refuse a NodeFile with
// fields that they do not know. A node that gets SIGHUP reads it again.
const TLSFile = "/var/lib/postgresql/tls.json"

// ServerTLS is what a node's PostgreSQL speaks TLS with. The zero value has it
// speak plain.
type ServerTLS struct {
	// Certificate and PrivateKey are PEM text.
	Certificate string       `json:"certificate"`
	PrivateKey  state.Secret `json:"private_key"`
	// Required has clients refused that do not speak TLS.
	Required bool `json:"required"`
}

// ReadServerTLS reads a TLSFile. There may be none.
func ReadServerTLS(path string) (ServerTLS, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return ServerTLS{}, nil
	}
	if err != nil {
		return ServerTLS{}, err
	}
	t, err := state.JSON[ServerTLS](b)
	if err != nil {
		return ServerTLS{}, fmt.Errorf("reading %s: %w", path, err)
	}
	return t, nil
}

// Encode returns the content of a TLSFile, which is secret.
func (t ServerTLS) Encode() ([]byte, error) { return json.Marshal(t) }

// On reports whether the server speaks TLS.
func (t ServerTLS) On() bool { return t.Certificate != "" }

// CertificateTag is the value of a member's tag that names the certificate which
// its server shows.
func CertificateTag(certificate string) string {
	sum := sha256.Sum256([]byte(certificate))
	return hex.EncodeToString(sum[:8])
}

// certificateTag is the name of that tag.
const certificateTag = "pgpatron_certificate"

// CertificateTag returns the tag of the certificate that the member's server shows;
// it is empty if the server speaks plain.
func (m Member) CertificateTag() string {
	tag, _ := m.Tags[certificateTag].(string)
	return tag
}

// tags are what a member with t tells of itself.
func (t ServerTLS) tags() map[string]quoted {
	if !t.On() {
		return nil
	}
	return map[string]quoted{certificateTag: quoted(CertificateTag(t.Certificate))}
}

// file names the file in a folder that PostgreSQL reads. It holds certificate and
// key, so that the two change at once.
func (t ServerTLS) file(folder string) string { return filepath.Join(folder, "server.pem") }

// write puts the file in its place at once and whole.
func (t ServerTLS) write(folder string) error {
	if !t.On() {
		return nil
	}
	content := bytes.Join([][]byte{[]byte(t.Certificate), []byte(t.PrivateKey.Reveal())}, []byte("\n"))
	return replaceFile(t.file(folder), content)
}

// parameters are PostgreSQL's settings.
func (t ServerTLS) parameters(folder string) map[string]any {
	if !t.On() {
		return nil
	}
	return map[string]any{"ssl": "on", "ssl_cert_file": t.file(folder), "ssl_key_file": t.file(folder)}
}

// replaceFile puts a file that only its owner can read in its place at once and
// whole.
func replaceFile(path string, content []byte) error {
	if err := os.WriteFile(path+".new", content, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
