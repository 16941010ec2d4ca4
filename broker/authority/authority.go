// Package authority makes the certificates that a site's PostgreSQL servers show:
// authorities, what they sign, and how one takes the place of another. It is pure:
// where keys are kept, and how they are closed, is its caller's business.
//
//	a, err := authority.New(now)
//	…
//	leaf, err := a.Issue([]string{"db.example.com", "10.0.0.7"}, now)
package authority

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"time"

	"github.com/pgpatron/pgpatron/state"
)

const (
	// Lifetime is how long an authority is good.
	Lifetime = 10 * 365 * 24 * time.Hour
	// LeafLifetime is how long what it signs is.
	LeafLifetime = 90 * 24 * time.Hour
	// RenewBefore is how long before its end a leaf is replaced.
	RenewBefore = 30 * 24 * time.Hour
	// skew is how far the clocks of those who verify may be behind.
	skew = time.Hour
)

// Authority is one that signs.
type Authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// Pair is a certificate with its key, as PEM text.
type Pair struct {
	Certificate string
	Key         state.Secret
	// Created and Expires are when it begins and ends to be good.
	Created, Expires time.Time
}

// New makes an authority (ECDSA P-256).
func New(now time.Time) (Authority, error) {
	key, serial, err := newKey()
	if err != nil {
		return Authority{}, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		// The number tells one authority from the next in what clients show of it.
		Subject:   pkix.Name{CommonName: "pgpatron site CA " + serial.Text(36)[:8]},
		NotBefore: now.Add(-skew), NotAfter: now.Add(Lifetime),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return Authority{}, fmt.Errorf("making an authority: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	return Authority{cert: cert, key: key}, err
}

// Open returns the authority that Pair told.
func Open(certificate string, key state.Secret) (Authority, error) {
	cert, err := parse(certificate)
	if err != nil {
		return Authority{}, err
	}
	block, _ := pem.Decode([]byte(key.Reveal()))
	if block == nil {
		return Authority{}, errors.New("the authority's key is no PEM text")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return Authority{}, errors.New("the authority's key can not be read")
	}
	own, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || !own.PublicKey.Equal(cert.PublicKey) {
		return Authority{}, errors.New("the authority's key is not that of its certificate")
	}
	return Authority{cert: cert, key: own}, nil
}

// Pair tells the authority's certificate and key.
func (a Authority) Pair() (Pair, error) { return pairOf(a.cert, a.key) }

// Issue signs a certificate, with a new key, for a server that is reached by these
// names and addresses.
func (a Authority) Issue(names []string, now time.Time) (Pair, error) {
	key, serial, err := newKey()
	if err != nil {
		return Pair{}, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{Organization: []string{"pgpatron"}},
		NotBefore:    now.Add(-skew), NotAfter: earlier(now.Add(LeafLifetime), a.cert.NotAfter),
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, name := range names {
		if addr, err := netip.ParseAddr(name); err == nil {
			template.IPAddresses = append(template.IPAddresses, addr.AsSlice())
			continue
		}
		template.DNSNames = append(template.DNSNames, name)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		return Pair{}, fmt.Errorf("signing a certificate for %q: %w", names, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return Pair{}, err
	}
	return pairOf(cert, key)
}

func newKey() (*ecdsa.PrivateKey, *big.Int, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("making a key: %w", err)
	}
	// 127 random bits, and never so few that its text is short.
	serial := make([]byte, 16)
	rand.Read(serial)
	serial[0] = serial[0]&0x7f | 0x40
	return key, new(big.Int).SetBytes(serial), nil
}

func pairOf(cert *x509.Certificate, key *ecdsa.PrivateKey) (Pair, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Pair{}, err
	}
	encode := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	return Pair{
		Certificate: encode("CERTIFICATE", cert.Raw), Key: state.Secret(encode("PRIVATE KEY", der)),
		Created: cert.NotBefore, Expires: cert.NotAfter,
	}, nil
}

func parse(certificate string) (*x509.Certificate, error) {
	block, _ := pem.Decode([]byte(certificate))
	if block == nil {
		return nil, errors.New("the authority's certificate is no PEM text")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("reading the authority's certificate: %w", err)
	}
	return cert, nil
}

// ID names an authority by its certificate.
func ID(certificate string) string {
	sum := sha256.Sum256([]byte(certificate))
	return hex.EncodeToString(sum[:6])
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
