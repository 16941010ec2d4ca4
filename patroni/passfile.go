package patroni

import (
	"errors"
	"io/fs"
	"os"
	"strings"

	"github.com/pgpatron/pgpatron/state"
)

// passfile is the file in a folder from which a server reads the password that it
// follows its leader with. Patroni writes it.
func passfile(folder string) string { return folder + "/pgpass" }

// renewPassfile puts another password into what Patroni has written. Patroni itself
// does that only once the connection is lost, and the next one was refused.
func renewPassfile(path string, login state.Credentials) error {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var renewed strings.Builder
	for line := range strings.Lines(string(b)) {
		renewed.WriteString(renewLine(line, login))
	}
	if renewed.String() == string(b) {
		return nil
	}
	return replaceFile(path, []byte(renewed.String()))
}

// renewLine renews a line HOST:PORT:*:USER:PASSWORD, if it is of the login's user.
func renewLine(line string, login state.Credentials) string {
	user := ":*:" + login.Username + ":"
	server, _, is := strings.Cut(line, user)
	if !is {
		return line
	}
	escaped := strings.NewReplacer(`\`, `\\`, `:`, `\:`).Replace(login.Password.Reveal())
	return server + user + escaped + "\n"
}
