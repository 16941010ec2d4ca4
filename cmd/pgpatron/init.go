package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"embed"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

//go:embed reference/*.yml
var reference embed.FS

func initCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Write what a process needs before its first start: its configuration, or the users of etcd",
	}
	for _, p := range processes() {
		if p.check != nil {
			cmd.AddCommand(initProcessCommand(p))
		}
	}
	cmd.AddCommand(initEtcdCommand())
	return cmd
}

// initProcessCommand writes the configuration of one process.
func initProcessCommand(p process) *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   p.use + " [KEY=VALUE]…",
		Short: "Write a commented configuration of a " + p.use + ", with secrets of its own",
		RunE: func(cmd *cobra.Command, args []string) error {
			f := configFile{process: p, dir: dir}
			path, err := f.write(cmd.Context(), args)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s is written: read it, then try it with\n  pgpatron %s --config %s --check-config\n", path, p.use, path)
			return nil
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "/etc/pgpatron", "folder that the configuration and its secrets go to")
	return cmd
}

// configFile is a configuration that is to be written.
type configFile struct {
	process process
	dir     string
}

// write writes the reference with every key commented out, and below what is
// given and made. A file that is there stays as it is.
func (f configFile) write(ctx context.Context, given []string) (string, error) {
	set, err := f.parse(given)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(f.dir, 0o755); err != nil {
		return "", err
	}
	if err := f.addSecrets(ctx, set); err != nil {
		return "", err
	}
	text, err := reference.ReadFile("reference/" + f.process.use + ".yml")
	if err != nil {
		return "", err
	}
	var b bytes.Buffer
	b.Write(commentedOut(text))
	b.WriteString("\n# What counts here. It holds secrets.\n")
	for _, key := range slices.Sorted(maps.Keys(set)) {
		fmt.Fprintf(&b, "%s: %s\n", key, set[key])
	}
	path := filepath.Join(f.dir, f.process.use+".yml")
	return path, writeNew(path, b.Bytes())
}

// parse reads KEY=VALUE pairs, which must be settings of the process.
func (f configFile) parse(given []string) (map[string]string, error) {
	flags := pflag.NewFlagSet(f.process.use, pflag.ContinueOnError)
	s := newSettings(flags)
	f.process.bind(s)
	set := map[string]string{}
	for _, pair := range given {
		key, value, ok := strings.Cut(pair, "=")
		known := flags.Lookup(strings.ReplaceAll(key, "_", "-"))
		if !ok || known == nil || !isSetting(known) || strings.Contains(key, "-") {
			return nil, fmt.Errorf("%s: is not KEY=VALUE of a setting of %s", key, f.process.use)
		}
		s.set(known, value)
		set[key] = value
	}
	return set, errors.Join(s.problems...)
}

// addSecrets makes the secrets that the process needs and nobody has given.
func (f configFile) addSecrets(ctx context.Context, set map[string]string) error {
	if f.process.use != "broker" {
		return nil
	}
	for _, key := range []string{"password", "admin_password"} {
		if set[key] == "" {
			set[key] = rand.Text()
		}
	}
	if set["admin_username"] == "" {
		set["admin_username"] = "admin"
	}
	if set["seal_key_file"] == "" {
		set["seal_key_file"] = filepath.Join(f.dir, "seal.key")
	}
	if set["record_key_file"] == "" {
		set["record_key_file"] = filepath.Join(f.dir, "record.key")
	}
	records := recordKeys{path: set["record_key_file"]}
	if set["key_command"] != "" {
		var err error
		if records.command, err = keyCommand(set["key_command"]); err != nil {
			return err
		}
	}
	bindings := bindingKeys{set["seal_key_file"]}
	return errors.Join(bindings.file(records.command).Create(ctx), records.file().Create(ctx))
}

// commentedOut puts a # before each line that is not a comment.
func commentedOut(yaml []byte) []byte {
	var b bytes.Buffer
	for line := range bytes.Lines(yaml) {
		if text := bytes.TrimSpace(line); len(text) > 0 && text[0] != '#' {
			b.WriteByte('#')
		}
		b.Write(line)
	}
	return b.Bytes()
}

// writeNew writes a file that only its owner can read, and that is not there yet.
func writeNew(path string, content []byte) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("%s is there already: it stays as it is", path)
	}
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	return errors.Join(err, file.Close())
}
