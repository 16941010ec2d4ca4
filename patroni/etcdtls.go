package patroni

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"

	"github.com/pgpatron/pgpatron/state"
)

// EtcdTLS holds what a node needs to speak to etcd over TLS, as PEM text: a
// container has no files but its own.
type EtcdTLS struct {
	// CA are the authorities whose certificates etcd may show. Empty: those of
	// the image.
	CA string `json:"ca,omitempty"`
	// Cert and Key are the node's own certificate, if etcd asks for one.
	Cert string       `json:"cert,omitempty"`
	Key  state.Secret `json:"key,omitempty"`
}

// HasCommonName reports whether the node's certificate names whom it is of. etcd
// serves no such client at its HTTP gateway, which Patroni uses, if it asks for
// logins.
func (t EtcdTLS) HasCommonName() bool {
	block, _ := pem.Decode([]byte(t.Cert))
	if block == nil {
		return false
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	return err == nil && cert.Subject.CommonName != ""
}

// etcdTLSFiles are where Patroni and patroni-node find an EtcdTLS.
type etcdTLSFiles struct{ ca, cert, key string }

// files names the files of t in a folder; what is empty has none.
func (t EtcdTLS) files(folder string) etcdTLSFiles {
	var f etcdTLSFiles
	if t.CA != "" {
		f.ca = filepath.Join(folder, "etcd-ca.pem")
	}
	if t.Cert != "" {
		f.cert, f.key = filepath.Join(folder, "etcd-cert.pem"), filepath.Join(folder, "etcd-key.pem")
	}
	return f
}

// EtcdAccess puts what the node needs to reach etcd into files in a folder, which
// only its owner can read, and returns how to reach it.
func (cfg NodeConfig) EtcdAccess(folder string) (state.Access, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return state.Access{}, err
	}
	files := cfg.EtcdTLS.files(folder)
	for path, content := range map[string]string{files.ca: cfg.EtcdTLS.CA, files.cert: cfg.EtcdTLS.Cert, files.key: cfg.EtcdTLS.Key.Reveal()} {
		if path == "" {
			continue
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			return state.Access{}, err
		}
	}
	return state.Access{
		Endpoints: cfg.Etcd, CAFile: files.ca, CertFile: files.cert, KeyFile: files.key,
		Username: cfg.EtcdLogin.Username, Password: cfg.EtcdLogin.Password,
	}, nil
}
