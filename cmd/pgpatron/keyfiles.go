package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/pgpatron/pgpatron/state/sealed"
)

// recordKeys are the settings of the keys of cluster records. Without a file
// records are plain.
type recordKeys struct {
	path    string
	command sealed.Command
}

func (k *recordKeys) add(s *settings) {
	add(s, "record-key-file", &k.path, "", "file with the keys that seal the passwords in cluster records, the same for all brokers and registrars of the site; default: they are plain in etcd", text)
	add(s, "key-command", &k.command, "", "program that has a key management service wrap and unwrap the keys in key files, as a YAML list of its name and first arguments; default: the files hold plain keys", keyCommand)
}

// keyCommand parses a program with its arguments.
func keyCommand(text string) (sealed.Command, error) {
	command, err := strictYAML[sealed.Command](text)
	if err == nil && (len(command) == 0 || command[0] == "") {
		err = errors.New(`want a list such as [/usr/local/bin/kms, --key, site]`)
	}
	return command, err
}

func (k recordKeys) file() sealed.File {
	return sealed.File{Setting: "record_key_file", Path: k.path, Command: k.command}
}

// check tells what is wrong with the file.
func (k recordKeys) check() error {
	if k.path == "" {
		return nil
	}
	err := k.file().Check()
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("record_key_file: %s does not exist: copy it from a broker, or make one with `openssl rand -hex 32`", k.path)
	}
	return err
}

// wrap has a client seal and open records, and returns the keys, which follow the
// file while they run; nil, if records are plain.
func (k recordKeys) wrap(ctx context.Context, client *clientv3.Client, log *slog.Logger) (*sealed.Ring, error) {
	if k.path == "" {
		return nil, nil
	}
	ring, err := sealed.Open(ctx, k.file(), log)
	if err != nil {
		return nil, err
	}
	ring.Wrap(client)
	return ring, nil
}

// bindingKeys are the settings of the keys of bindings.
type bindingKeys struct{ path string }

func (k *bindingKeys) add(s *settings) {
	add(s, "seal-key-file", &k.path, "seal.key", "file with the keys that seal bindings' secrets, the same for all brokers of the site; made if missing", text)
}

func (k bindingKeys) file(command sealed.Command) sealed.File {
	return sealed.File{Setting: "seal_key_file", Path: k.path, Command: command}
}

// check tells what is wrong with the file. One that is missing is made at the
// start.
func (k bindingKeys) check(command sealed.Command) error {
	if err := k.file(command).Check(); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// openNew opens a file of keys, which is made if there is none.
func openNew(ctx context.Context, file sealed.File, log *slog.Logger) (*sealed.Ring, error) {
	if err := file.Create(ctx); err != nil {
		return nil, err
	}
	return sealed.Open(ctx, file, log)
}
