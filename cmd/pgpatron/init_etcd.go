package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pgpatron/pgpatron/patroni"
	"github.com/pgpatron/pgpatron/state"
	"github.com/pgpatron/pgpatron/state/users"
)

// initEtcd makes the users of a site's etcd.
type initEtcd struct {
	etcd      state.Access
	dir       string
	passwords map[string]string
}

func initEtcdCommand() *cobra.Command {
	var run initEtcd
	var file string
	cmd := &cobra.Command{
		Use:   "etcd",
		Args:  cobra.NoArgs,
		Short: "Make a user of etcd for each process, with the rights it needs, and have etcd ask for logins",
		Long: `Makes the etcd users root, broker, registrar, router, node and federation, each with a role of its own, and
enables etcd's authentication. May be run again: rights are made as they should be. On an etcd that asks for
logins, log in as root with --etcd-username and PGPATRON_ETCD_PASSWORD.

Each password is taken from --passwords, or from DIR/etcd-NAME.env, or made; it is kept in DIR/etcd-NAME.env
as an environment of the process. The node user's goes to the registrars.`,
	}
	s := newSettings(cmd.Flags())
	addEtcd(s, &run.etcd)
	add(s, "passwords", &run.passwords, "", "the passwords by user's name, as a YAML map; better in a file", strictYAML[map[string]string])
	s.addFile(&file)
	cmd.Flags().StringVar(&run.dir, "dir", "", "folder in which the passwords are kept; default: they are not, and all must be given")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := errors.Join(s.load(file), run.etcd.Validate()); err != nil {
			return fmt.Errorf("configuration:\n%w", err)
		}
		return run.run(cmd, cmd.OutOrStdout())
	}
	return cmd
}

func (i initEtcd) run(cmd *cobra.Command, out io.Writer) error {
	client, err := connect(cmd.Context(), i.etcd)
	if err != nil {
		return err
	}
	defer client.Close()
	all := users.All(patroni.ImageName)
	passwords := map[string]state.Secret{}
	for _, u := range append([]users.User{{Name: users.Root}}, all...) {
		if passwords[u.Name], err = i.password(u.Name); err != nil {
			return err
		}
	}
	if err := users.Install(cmd.Context(), client, all, passwords); err != nil {
		return err
	}
	for _, u := range all {
		fmt.Fprintf(out, "user %s\n", u.Name)
	}
	fmt.Fprintln(out, "etcd asks for logins")
	return nil
}

// password returns the password of a user: the one that is given, the one that
// is kept, or a new one, which is kept.
func (i initEtcd) password(name string) (state.Secret, error) {
	if given := i.passwords[name]; given != "" || i.dir == "" {
		return state.Secret(given), nil
	}
	path := filepath.Join(i.dir, "etcd-"+name+".env")
	suffix := ""
	if name == "node" {
		suffix = "_FOR_NODES"
	}
	variable := "PGPATRON_ETCD_PASSWORD" + suffix + "="
	if b, err := os.ReadFile(path); err == nil {
		for line := range strings.Lines(string(b)) {
			if kept, ok := strings.CutPrefix(strings.TrimSpace(line), variable); ok && kept != "" {
				return state.Secret(kept), nil
			}
		}
		return "", fmt.Errorf("%s does not say %s…", path, variable)
	}
	password := rand.Text()
	return state.Secret(password), writeNew(path, []byte("PGPATRON_ETCD_USERNAME"+suffix+"="+name+"\n"+variable+password+"\n"))
}
