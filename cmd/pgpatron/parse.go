package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/pgpatron/pgpatron/state"
)

// The parsers of settings: each says what it wants.

func text(s string) (string, error) {
	if s == "" {
		return "", errors.New("must not be empty")
	}
	return s, nil
}

func secret(s string) (state.Secret, error) {
	if s == "" {
		return "", errors.New("must not be empty")
	}
	return state.Secret(s), nil
}

func duration(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, fmt.Errorf("want a duration such as 30s or 5m, got %q", s)
	}
	return d, nil
}

func boolean(s string) (bool, error) {
	b, err := strconv.ParseBool(s)
	if err != nil {
		return false, fmt.Errorf("want true or false, got %q", s)
	}
	return b, nil
}

func count(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("want a number from 1, got %q", s)
	}
	return n, nil
}

func countOrZero(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("want a number that is not negative, got %q", s)
	}
	return n, nil
}

func byteCount(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("want a number of bytes, got %q", s)
	}
	return n, nil
}

func hostPort(s string) (string, error) {
	host, port, err := net.SplitHostPort(s)
	if n, errPort := strconv.Atoi(port); err != nil || host == "" || errPort != nil || n < 0 || n > 65535 {
		return "", fmt.Errorf("want host:port, got %q", s)
	}
	return s, nil
}

func address(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil {
		return a, fmt.Errorf("want an IP address, got %q", s)
	}
	return a, nil
}

func level(s string) (slog.Level, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(s)); err != nil {
		return l, fmt.Errorf("want debug, info, warn or error, got %q", s)
	}
	return l, nil
}

// endpoints reads host:port addresses or http and https URLs, separated by commas or as
// a YAML list.
func endpoints(s string) ([]string, error) {
	var list []string
	if yaml.Unmarshal([]byte(s), &list) != nil {
		list = strings.Split(s, ",")
	}
	var out []string
	for _, e := range list {
		e = strings.TrimSpace(e)
		if _, err := hostPort(strings.TrimPrefix(strings.TrimPrefix(e, "http://"), "https://")); err != nil {
			return nil, fmt.Errorf("want host:port addresses separated by commas, got %q", e)
		}
		out = append(out, e)
	}
	return out, nil
}

// labels reads NAME=VALUE pairs, separated by commas or as a YAML map.
func labels(s string) (map[string]string, error) {
	out := map[string]string{}
	if yaml.Unmarshal([]byte(s), &out) == nil {
		return out, nil
	}
	for pair := range strings.SplitSeq(s, ",") {
		name, value, ok := strings.Cut(strings.TrimSpace(pair), "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("want NAME=VALUE pairs separated by commas, got %q", s)
		}
		out[name] = value
	}
	return out, nil
}

// strictYAML reads YAML into a T, in which unknown keys are mistakes.
func strictYAML[T any](s string) (T, error) {
	dec := yaml.NewDecoder(bytes.NewReader([]byte(s)))
	dec.KnownFields(true)
	var out T
	if err := dec.Decode(&out); err != nil && !errors.Is(err, io.EOF) {
		return out, err
	}
	return out, nil
}
