package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// settings gathers one process's configuration. Each setting is a flag, a key
// of the YAML file (dashes become underscores) and an environment variable
// (PGPATRON_ and the key in capitals); a flag wins over the environment, the
// environment over the file, the file over the default. Problems are gathered,
// so that all of them are told at once, by key.
type settings struct {
	flags    *pflag.FlagSet
	env      func(string) (string, bool)
	problems []error
	// given names the settings that the command line, the environment or the
	// file set.
	given map[string]bool
}

func newSettings(flags *pflag.FlagSet) *settings {
	return &settings{flags: flags, env: os.LookupEnv, given: map[string]bool{}}
}

// addFile adds the flag that names a file of settings, for load.
func (s *settings) addFile(into *string) {
	s.flags.StringVar(into, "config", "", "YAML file with any of these settings, dashes written as underscores")
}

// add makes a setting whose value parse turns into a T.
func add[T any](s *settings, name string, into *T, def string, usage string, parse func(string) (T, error)) {
	v := &value[T]{settings: s, name: name, into: into, parse: parse, text: def}
	if def != "" {
		parsed, err := parse(def)
		if err != nil {
			panic(fmt.Sprintf("default of %s: %v", name, err))
		}
		*into = parsed
	}
	f := s.flags.VarPF(v, name, "", fmt.Sprintf("%s [%s]", usage, envName(name)))
	if _, isSwitch := any(*into).(bool); isSwitch {
		f.NoOptDefVal = "true" // --share-backends alone
	}
}

// value is the flag of one setting. It never refuses: a bad value becomes one
// of the settings' problems.
type value[T any] struct {
	settings *settings
	name     string
	into     *T
	parse    func(string) (T, error)
	text     string
}

// Set takes a value in.
func (v *value[T]) Set(text string) error {
	v.settings.given[v.name] = true
	parsed, err := v.parse(text)
	if err != nil {
		v.settings.problem(v.name, err)
		return nil
	}
	v.text, *v.into = text, parsed
	return nil
}

// check tells whether a text would be taken, and takes nothing.
func (v *value[T]) check(text string) error {
	_, err := v.parse(text)
	return err
}

// String returns the value as it was given.
func (v *value[T]) String() string { return v.text }

// Type names the value for the help text.
func (v *value[T]) Type() string {
	name := fmt.Sprintf("%T", *new(T))
	return strings.ToLower(name[strings.LastIndexByte(name, '.')+1:])
}

// isSetting tells settings from the flags that are of the command line alone.
func isSetting(f *pflag.Flag) bool {
	_, ok := f.Value.(interface{ check(string) error })
	return ok
}

func (s *settings) problem(name string, err error) {
	s.problems = append(s.problems, fmt.Errorf("%s: %w", fileKey(name), err))
}

func envName(name string) string { return "PGPATRON_" + strings.ToUpper(fileKey(name)) }

func fileKey(name string) string { return strings.ReplaceAll(name, "-", "_") }

// load takes in the environment and the file, where the command line says
// nothing, and returns every problem.
func (s *settings) load(file string) error {
	byFlag := map[string]bool{}
	for name := range s.given {
		byFlag[name] = true
	}
	if file != "" {
		s.loadFile(file, byFlag)
	}
	s.flags.VisitAll(func(f *pflag.Flag) {
		text, ok := s.env(envName(f.Name))
		if ok && !byFlag[f.Name] && isSetting(f) {
			s.set(f, text)
		}
	})
	return errors.Join(s.problems...)
}

func (s *settings) set(f *pflag.Flag, text string) {
	if err := f.Value.Set(text); err != nil {
		s.problem(f.Name, err)
	}
}

// loadFile takes one YAML file in; keys that are no setting are problems.
func (s *settings) loadFile(path string, byFlag map[string]bool) {
	b, err := os.ReadFile(path)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%s does not exist", path)
		}
		s.problem("config", err)
		return
	}
	var doc map[string]yaml.Node
	if err := yaml.Unmarshal(b, &doc); err != nil {
		s.problem("config", fmt.Errorf("%s: %w", path, err))
		return
	}
	for key, node := range doc {
		f := s.flags.Lookup(strings.ReplaceAll(key, "_", "-"))
		if f == nil || strings.Contains(key, "-") || !isSetting(f) {
			s.problems = append(s.problems, fmt.Errorf("%s: no such key (%s, line %d)", key, path, node.Line))
			continue
		}
		if byFlag[f.Name] {
			continue
		}
		text, err := nodeText(node)
		if err != nil {
			s.problem(f.Name, err)
			continue
		}
		s.set(f, text)
	}
	slices.SortFunc(s.problems, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
}

// nodeText returns a scalar as it is, and a list or a map as YAML.
func nodeText(node yaml.Node) (string, error) {
	if node.Kind == yaml.ScalarNode {
		return node.Value, nil
	}
	b, err := yaml.Marshal(&node)
	return string(b), err
}
