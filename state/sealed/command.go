package sealed

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// commandTimeout bounds one call of a Command.
const commandTimeout = 10 * time.Second

// Command is a program, with its first arguments, that has a key management
// service wrap and unwrap keys. It is started without a shell, with one argument
// more:
//
//	wrap    reads a key, 64 hexadecimal digits, and writes it wrapped
//	unwrap  reads what wrap wrote, and writes the 64 digits
//
// both from standard input to standard output. What it writes to standard error
// is not repeated anywhere: nobody knows what is in it.
type Command []string

func (c Command) wrap(ctx context.Context, k Key) ([]byte, error) {
	return c.run(ctx, "wrap", k.hex())
}

// unwrap returns the key of that id.
func (c Command) unwrap(ctx context.Context, id string, wrapped []byte) (Key, error) {
	out, err := c.run(ctx, "unwrap", wrapped)
	if err != nil {
		return Key{}, err
	}
	k, err := parseKey(string(out))
	switch {
	case err != nil:
		return Key{}, fmt.Errorf("%s unwrap: wrote something else than 64 hexadecimal digits", c[0])
	case k.id != id:
		return Key{}, fmt.Errorf("%s unwrap: wrote the key %s", c[0], k.id)
	}
	return k, nil
}

func (c Command) run(ctx context.Context, verb string, input []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, c[0], append(slices.Clone(c[1:]), verb)...)
	cmd.Stdin, cmd.Env, cmd.WaitDelay = bytes.NewReader(input), environment(), time.Second
	out, err := cmd.Output()
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("%s %s: no answer within %v", c[0], verb, commandTimeout)
	case err != nil:
		return nil, fmt.Errorf("%s %s: %w; what it wrote to standard error is not repeated here: run it by hand", c[0], verb, err)
	case len(out) == 0:
		return nil, fmt.Errorf("%s %s: wrote nothing", c[0], verb)
	}
	return out, nil
}

// environment is this process's own without its settings, some of which are
// secrets.
func environment() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "PGPATRON_") })
}
