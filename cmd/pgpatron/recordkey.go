package main

import (
	"errors"
	"io/fs"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/pgpatron/pgpatron/state/sealed"
)

// recordKey is the file with the keys of cluster records; empty: they are plain.
type recordKey string

func (k *recordKey) add(s *settings) {
	add(s, "record-key-file", (*string)(k), "", "file with the keys that seal the passwords in cluster records, the same for all brokers and registrars of the site; default: they are plain in etcd", text)
}

// check tells what is wrong with the file.
func (k recordKey) check() error {
	if k == "" {
		return nil
	}
	_, err := sealed.ReadKeys(string(k), false)
	if errors.Is(err, fs.ErrNotExist) {
		return errors.New("record_key_file: " + string(k) + " does not exist: copy it from a broker, or make one with `openssl rand -hex 32`")
	}
	return err
}

// wrap has a client seal and open records, and returns the keys; none, if records
// are plain.
func (k recordKey) wrap(client *clientv3.Client) (sealed.Keys, error) {
	if k == "" {
		return nil, nil
	}
	keys, err := sealed.ReadKeys(string(k), false)
	if err == nil {
		keys.Wrap(client)
	}
	return keys, err
}
